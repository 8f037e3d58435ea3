"""``ado db prune`` as an operator runs it, beside replicas that serve."""

import json

import pytest

from app.rpc.client import CallError, HttpClient

FIRST_RANGE = 99  # task ids begin at 1


@pytest.fixture
def calls(cluster):
    client = HttpClient(cluster.urls, cluster.token)
    yield client
    client.close()


def prune(cluster, *arguments):
    return cluster.ado("db", "prune", "--dsn", cluster.dsn, *arguments, check=0)


def test_a_pruned_log_is_reported_and_the_task_stays(cluster, calls):
    for _ in range(FIRST_RANGE):
        made = calls.mutate("tasks.create", {"prompt": "true", "agent": "shell"})
        calls.mutate("tasks.cancel", {"taskId": made["taskId"]})
    assert b"nothing to prune" in prune(cluster, "--older-than", "30d").stderr
    found = json.loads(prune(cluster, "--older-than", "0s", "-o", "json").stdout)["items"]
    assert [(item["name"], item["tasks"]) for item in found] == [("task-0..task-99", FIRST_RANGE)]
    assert cluster.task("task-1")["status"] == "cancelled"
    read = cluster.ado("logs", "task-1")
    assert (read.returncode != 0, b"has been dropped" in read.stderr, read.stdout) == (True, True, b"")
    with pytest.raises(CallError) as refused:
        calls.mutate("tasks.retry", {"taskId": "task-1"})
    assert refused.value.reason == "log_pruned"
    cluster.add_worker("w1")
    assert cluster.ado("run", "--remote", "--agent", "shell", "echo goes on", check=0).stdout == b"goes on\n"


def test_a_prune_needs_a_database_and_a_duration(cluster):
    assert cluster.ado("db", "prune", "--older-than", "30d").returncode == 2
    assert cluster.ado("db", "prune", "--dsn", cluster.dsn, "--older-than", "soon").returncode == 2
