"""An agent whose credentials are refused, through two replicas, a worker and the command line.

The agent speaks the Agent Client Protocol under a name of the worker's own. Its credentials are a file.
"""

import json
import re
import urllib.request

import pytest
from support.postgres import fast_directory, remove
from support.program import Cluster, until


@pytest.fixture
def cluster(dsn, acp_programs, monkeypatch):
    home = fast_directory()
    monkeypatch.setenv("ADO_AGENT_BREAKER", "2")
    made = Cluster(dsn, home)
    try:
        made.add_replicas(2)
        env = acp_programs.environment("house") | {"ADO_ISOLATED": "true", "ADO_SANDBOX": "none"}
        made.add_worker("main", "--slots", "8", "--capability", "house", "--capability", "shell", env=env)
        yield made
    finally:
        made.close()
        remove(home)


def begin(cluster, key, jobs=1, agent="house"):
    words = ["run", "--remote", "--detach", "-o", "name", "--no-repo", "--workers", str(jobs), "--agent", agent]
    return cluster.ado(*words, f"sign in {key}" if agent == "house" else "true", check=0).stdout.decode().strip()


def metrics(cluster):
    wish = urllib.request.Request(f"{cluster.urls[1]}/metrics", headers={"authorization": f"Bearer {cluster.token}"})
    with urllib.request.urlopen(wish, timeout=60) as answer:
        return answer.read().decode()


def ends(cluster, task):
    """Return how each job of a task has ended, once all have."""
    until(lambda: cluster.task(task)["status"] in ("succeeded", "failed"), f"{task} to end")
    return [(job["status"], job.get("reason")) for job in cluster.task(task)["jobs"]]


def test_jobs_of_an_agent_with_refused_credentials_wait_until_one_of_them_succeeds(cluster, tmp_path):
    key = tmp_path / "key"
    assert ends(cluster, begin(cluster, key, 2)) == [("failed", "auth")] * 2
    task = begin(cluster, key)
    why = "agent house is unhealthy: its last 2 attempts failed before it did anything, the last one with auth. "
    explained = cluster.ado("explain", task, check=0).stdout.decode()
    assert why in explained
    assert "then ado workers reset house)" in explained
    (worker,) = json.loads(cluster.ado("explain", task, "-o", "json", check=0).stdout)["workers"]
    assert worker["unmet"] == "agent_unhealthy"
    assert explained.count(why) == 1
    assert why in cluster.ado("doctor", check=1).stdout.decode()
    status = cluster.ado("workers", "status", check=0).stdout.decode()
    assert why in status
    assert re.search(
        r"\(next: see task-1/[01], correct it where the workers run, then ado workers reset house\)", status
    )
    assert 'ado_agent_unhealthy{agent="other"} 1.0' in metrics(cluster)
    assert ends(cluster, begin(cluster, key, agent="shell")) == [("succeeded", None)]
    assert [job["status"] for job in cluster.task(task)["jobs"]] == ["queued"]
    key.touch()
    cluster.sql("update ado.agent_failures set probe_after = now() returning agent")
    assert ends(cluster, task) == [("succeeded", None)]
    assert json.loads(cluster.ado("workers", "status", "-o", "json").stdout)["unhealthyAgents"] == []


def test_an_operator_lets_the_jobs_of_an_agent_go_on(shared_cluster):
    shared_cluster.sql(
        "insert into ado.agent_failures (agent, failures, reason, task_id, job, attempt, probe_after) "
        "values ('codex', 5, 'auth', 1, 0, 1, now()) returning agent"
    )
    reset = ("workers", "reset", "codex")
    assert b"5 failures of codex in a row are forgotten: its jobs go on" in shared_cluster.ado(*reset, check=0).stderr
    assert b"codex has no failures to forget" in shared_cluster.ado(*reset, check=0).stderr
    assert json.loads(shared_cluster.ado(*reset, "-o", "json", check=0).stdout) == {"agent": "codex", "failures": 0}
