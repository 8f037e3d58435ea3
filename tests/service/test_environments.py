"""Values of ``--env``: gone once the task cannot run, encrypted where there is a key, and in no log of Postgres."""

import base64
import contextlib
import json
import os

import pytest
from support.postgres import fast_directory, remove
from support.program import Cluster, until

from db.embedded import EmbeddedServer
from db.migrate import migrate

VALUE = "env-value-7b1f3c"
PRINT = 'printf "%s" "$SECRET_SETTING" | wc -c'


def stored(cluster):
    """Return what Postgres keeps of all environments, as text."""
    return str(
        cluster.sql("select environment::text, sealed, names, forgotten_at is not null from ado.task_environments")
    )


def run(cluster, prompt, *more, check):
    return cluster.ado(
        "run", "--remote", "--agent", "shell", "--env", f"SECRET_SETTING={VALUE}", *more, prompt, check=check
    )


def test_values_are_deleted_when_the_task_succeeds_and_names_stay(cluster):
    cluster.add_worker("w1", "--capability", "shell")
    assert run(cluster, PRINT, check=0).stdout.strip() == str(len(VALUE)).encode()
    assert VALUE not in stored(cluster)
    assert cluster.task("task-1")["envNames"] == ["SECRET_SETTING"]


def test_a_failed_task_keeps_its_values_for_a_retry(cluster):
    cluster.add_worker("w1", "--capability", "shell")
    run(cluster, f"{PRINT}; exit 3", check=3)
    assert VALUE in stored(cluster)
    cluster.ado("retry", "task-1", check=0)
    until(lambda: cluster.task("task-1")["jobs"][0]["attempt"] == 2 and cluster.task("task-1")["status"] == "failed")
    outputs = [event["data"].strip() for event in cluster.events("task-1") if event["type"] == "output"]
    assert outputs == [str(len(VALUE))] * 2


def test_values_expire_and_a_retry_is_then_refused_with_the_reason(dsn, home):
    made = Cluster(dsn, home, env={"ADO_ENV_DAYS": "0"})
    with contextlib.closing(made):
        made.add_replicas(2)
        made.add_worker("w1", "--capability", "shell")
        run(made, "exit 3", check=3)
        until(lambda: VALUE not in stored(made), "the janitor")
        refused = made.ado("retry", "task-1", "-o", "json")
        assert refused.returncode != 0
        assert b"--env values of task-1 have been deleted" in refused.stderr


def test_with_a_key_postgres_has_only_ciphertext_and_the_job_has_the_value(dsn, home):
    key = base64.b64encode(os.urandom(32)).decode()
    made = Cluster(dsn, home, env={"ADO_DATA_KEY": key})
    with contextlib.closing(made):
        made.add_replicas(2)
        task = run(made, PRINT, "--detach", "-o", "name", check=0).stdout.decode().strip()
        assert VALUE not in stored(made)
        made.add_worker("w1", "--capability", "shell")
        assert made.ado("attach", task, check=0).stdout.strip() == str(len(VALUE)).encode()


def test_a_replica_with_another_key_fails_the_job_with_the_reason(dsn, home):
    """The job fails once; it is not handed back to be claimed with the same wrong key for ever."""
    keys = [base64.b64encode(os.urandom(32)).decode() for _ in range(2)]
    first = Cluster(dsn, home, env={"ADO_DATA_KEY": keys[0]})
    with contextlib.closing(first):
        first.add_replicas(1)
        run(first, PRINT, "--detach", check=0)
        first.env["ADO_DATA_KEY"] = keys[1]
        first.urls.clear()
        first.add_replicas(1)
        first.add_worker("w1", "--capability", "shell")
        until(lambda: first.task("task-1")["status"] == "failed", "the end")
        (job,) = first.task("task-1")["jobs"]
        assert (job["reason"], job["attempt"]) == ("start_failed", 1)
        assert "ADO_DATA_KEY" in job["message"]


@pytest.fixture
def talkative():
    """An embedded server that logs every statement as slow, and its log."""
    directory = fast_directory()
    server = EmbeddedServer(
        directory / "pg", fast=True, settings={"shared_buffers": "64MB", "log_min_duration_statement": "0"}
    )
    try:
        yield server.start(), server.log
    finally:
        server.stop()
        remove(directory)


def test_no_value_stands_in_the_log_of_the_embedded_postgres(talkative, home):
    dsn, log = talkative
    migrate(dsn)
    made = Cluster(dsn, home)
    with contextlib.closing(made):
        made.add_replicas(2)
        made.add_worker("w1", "--capability", "shell")
        run(made, f"{PRINT}; exit 3", check=3)
    text = log.read_text()
    assert "create_tasks" in text or "insert into ado.task_environments" in text
    assert VALUE not in text


def test_a_retry_of_a_successful_task_is_refused_for_its_status(cluster):
    cluster.add_worker("w1", "--capability", "shell")
    run(cluster, PRINT, check=0)
    refused = cluster.ado("retry", "task-1", "-o", "json")
    assert json.loads(refused.stderr)["error"]["reason"] == "nothing_to_retry"
