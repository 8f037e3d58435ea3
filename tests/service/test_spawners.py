"""A spawner is known by its heartbeats: its offers count, and a killed one is reported."""

import json
import signal

import pytest
from support.program import until

from app.core.capabilities import OF_RELEASE

KNOWN = "select spawner_id, state from ado.spawner_status"


@pytest.fixture
def spawner(cluster):
    work_dir, urls = str(cluster.home / "work"), ",".join(cluster.urls)
    env = {"ADO_WORKER_CAPABILITIES": "shell,claude-code"}
    process = cluster.start("spawner", "--max", "1", "--url", urls, "--work-dir", work_dir, env=env)
    until(lambda: cluster.sql(KNOWN), "the spawner's first heartbeat")
    return process


def test_a_stopped_spawner_leaves_no_row(cluster, spawner):
    spawner.send_signal(signal.SIGTERM)
    spawner.wait(60)
    assert cluster.sql(KNOWN) == []


def test_a_killed_spawner_is_reported_by_status_doctor_and_metrics(cluster, spawner):
    spawner.kill()
    spawner.wait(60)
    cluster.sql("update ado.spawners set last_heartbeat_at = now() - interval '3 min' returning 1")
    said = cluster.ado("workers", "status").stdout.decode()
    assert "stopped sending heartbeats; the last came 3 min ago" in said
    (found,) = json.loads(cluster.ado("workers", "status", "-o", "json").stdout)["spawners"]
    assert (found["state"], found["capabilities"], found["maxWorkers"]) == (
        "silent",
        sorted(["claude-code", "shell", *OF_RELEASE]),
        1,
    )
    checked = cluster.ado("doctor", check=1).stdout.decode()
    assert "✗  spawner" in checked
    assert "fix: start it again with ado spawner" in checked


def test_an_agent_without_workers_is_refused_before_the_task_is_made(cluster, spawner):
    done = cluster.ado("run", "--remote", "--detach", "--agent", "claud", "hi", check=127)
    assert "offered: claude-code, shell; did you mean claude-code?" in done.stderr.decode()
    assert cluster.sql("select count(*) from ado.tasks") == [(0,)]
    cluster.ado("run", "--remote", "--detach", "--agent", "claud", "--wait-for-agent", "hi", check=0)
    assert cluster.sql("select agent from ado.tasks") == [("claud",)]
