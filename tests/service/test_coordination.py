"""Jobs of one task, as shell scripts on different workers: they elect, share and meet through ``ado kv``."""

import contextlib
import json
import os
import subprocess
import sys

import pytest
from support.program import processes_with, until

from app.rpc.client import HttpClient


@pytest.fixture
def workers(cluster):
    first, second = cluster.urls
    for number in range(3):
        cluster.add_worker(f"w{number}", url=f"{first},{second}" if number % 2 else f"{second},{first}")
    until(lambda: len(states(cluster)) == 3, "three workers")
    return cluster


def states(cluster):
    found = json.loads(cluster.ado("workers", "list", "-o", "json", check=0).stdout)["items"]
    return {worker["workerId"]: worker["state"] for worker in found}


def run(cluster, script, *options, workers=3, **wish):
    return cluster.ado("run", "--remote", "--agent", "shell", "--workers", str(workers), *options, script, **wish)


def ado_as(cluster, token, *arguments, url=None):
    """Run a command with another token."""
    env = {**cluster.client_env(url), "ADO_TOKEN": token}
    command = [sys.executable, "-P", "-m", "cli", *arguments]
    return subprocess.run(command, env=env, capture_output=True, timeout=60, check=False, cwd="/")


ELECTION = """
if ado kv cas leader "$ADO_JOB_INDEX" --version 0 2>lost; then echo "I lead"; else grep -c version lost >&2; fi
echo "the leader is $(ado kv wait leader)"
"""


def test_jobs_elect_one_leader(workers):
    done = run(workers, ELECTION, check=0)
    lines = done.stdout.decode().splitlines()
    leaders = [line[1] for line in lines if line.endswith("I lead")]
    assert len(leaders) == 1
    assert sorted(lines) == sorted(
        [f"[{leaders[0]}] I lead", *(f"[{job}] the leader is {leaders[0]}" for job in range(3))]
    )


BARRIER = """
ado kv set "here/$ADO_JOB_INDEX" "$ADO_WORKER_ID"
echo arrived
for job in $(seq 0 $((ADO_WORKER_COUNT - 1))); do ado kv wait "here/$job" --timeout 60s >/dev/null || exit 9; done
echo passed
"""


def test_jobs_of_a_task_run_concurrently_and_meet_at_a_barrier(workers):
    run(workers, BARRIER, check=0)
    events = workers.events("task-1")
    for job in range(3):  # what a job writes may be stored after what another one writes later
        said = [event["data"] for event in events if event["type"] == "output" and event["job"] == job]
        assert "".join(said) == "arrived\npassed\n"
    kinds = [event["type"] for event in events]
    assert kinds.count("started") == 3
    passed = next(at for at, event in enumerate(events) if "passed" in event.get("data", ""))
    assert "started" not in kinds[passed:]
    kept = json.loads(workers.ado("kv", "list", "here/", "--task", "task-1", "-o", "json", check=0).stdout)["items"]
    assert {item["value"] for item in kept} == {"w0", "w1", "w2"}


SHARDS = """
seq "$ADO_JOB_INDEX" 3 30 | ado kv set "part/$ADO_JOB_INDEX" -
[ "$ADO_JOB_INDEX" = 0 ] || exit 0
for job in 0 1 2; do ado kv wait "part/$job"; done | sort -n | tr '\\n' ' '
"""


def test_a_job_gathers_what_its_siblings_share(workers):
    done = run(workers, SHARDS, check=0)
    assert done.stdout.decode().split()[1:] == [str(number) for number in range(31)]


def test_a_missing_value_ends_the_wait_with_124(workers):
    script = (
        "ado kv wait nothing --timeout 0.2s; echo $?; ado kv set n 5 --json; ado kv wait n --for 5 --json; ado kv get x"
    )
    done = run(workers, script, workers=1, check=1)
    assert done.stdout == b"124\n5\n"
    assert b"there is no value 'x'" in done.stderr


def test_a_job_token_reaches_only_its_store_and_only_during_its_attempt(workers):
    kept = workers.home / "kept"  # what an agent writes out is masked
    script = f"printenv ADO_TOKEN > {kept}; echo kept; ado kv wait go"
    watching = workers.open("run", "--remote", "--agent", "shell", script)
    assert watching.stdout.readline() == b"kept\n"
    token = kept.read_text().strip()
    workers.ado("run", "--remote", "--agent", "shell", "true", check=0)
    assert ado_as(workers, token, "kv", "set", "a", "1", "--task", "task-1").returncode == 0
    for replica in workers.urls:
        assert ado_as(workers, token, "kv", "get", "a", "--task", "task-1", url=replica).stdout == b"1\n"
    for refused in (
        ["kv", "get", "a", "--task", "task-2"], ["tasks", "list"], ["cancel", "task-1"], ["workers", "list"],
        ["token", "list"], ["attach", "task-1"],
    ):  # fmt: skip
        assert ado_as(workers, token, *refused).returncode == 126, refused
    assert not processes_with(token)
    shown = workers.ado("tasks", "show", "task-1", "-o", "json", check=0).stdout.decode()
    shown += "".join(json.dumps(event) for event in workers_events(workers) if event["type"] != "output")
    shown += "".join(file.read_text() for file in workers.home.glob("*.log"))
    shown += str(workers.sql("select j.* from ado.jobs j")) + str(workers.sql("select t.* from ado.tokens t"))
    assert token not in shown
    workers.ado("kv", "set", "go", "1", "--task", "task-1", check=0)
    watching.communicate(timeout=60)
    for replica in workers.urls:
        late = ado_as(workers, token, "kv", "set", "a", "2", "--task", "task-1", url=replica)
        assert late.returncode == 126
    assert workers.ado("kv", "get", "a", "--task", "task-1", check=0).stdout == b"1\n"


def workers_events(cluster):
    lines = cluster.ado("logs", "task-1", "-o", "jsonl", check=0).stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_a_write_that_is_sent_again_happens_once(workers):
    """The same idempotencyKey through another replica returns what was stored."""
    workers.ado("run", "--remote", "--agent", "shell", "true", check=0)
    wish = {"taskId": "task-1", "key": "leader", "value": "me", "version": 0, "idempotencyKey": f"k{os.getpid()}"}
    for url in workers.urls:
        with contextlib.closing(HttpClient([url], workers.token)) as client:
            assert client.mutate("tasks.kvCas", wish) == {"key": "leader", "value": "me", "version": 1}
