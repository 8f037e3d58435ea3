"""``ado complete`` beside a server: what it offers, and that it is silent about what goes wrong."""

import pytest
from support.program import until

from app.rpc.client import HttpClient


@pytest.fixture
def labelled(cluster):
    client = HttpClient(cluster.urls, cluster.token)
    client.mutate("users.add", {"name": "anna"})
    for labels in ({"team": "web", "$(touch x)": "`y`"}, {"two words": "1", "line\nfeed": "1", "bell\a": "1"}):
        client.mutate("tasks.create", {"prompt": "true", "labels": labels})
    client.close()
    return cluster


def offered(cluster, *words, **options):
    done = cluster.ado("complete", "--", *words, check=0, **options)
    assert done.stderr == b""
    return done.stdout.decode().splitlines()


def answered(cluster, *words):
    """Return what is offered once something is: a server that needs more than a second is not waited for."""
    return until(lambda: offered(cluster, *words), "something to be offered")


def test_values_come_from_the_server(labelled):
    assert answered(labelled, "tasks", "--label", "") == ["$(touch x)", "team", "two words"]
    assert answered(labelled, "tasks", "--label", "team", "=", "") == ["web"]
    assert answered(labelled, "tasks", "show", "") == ["task-2", "task-1"]
    assert answered(labelled, "tasks", "--created-by", "a") == ["anna"]
    assert "claude-code" in offered(labelled, "run", "--agent", "")
    assert offered(labelled, "tasks", "--status", "failed,") == [
        f"failed,{name}" for name in ("queued", "running", "paused", "succeeded", "cancelled")
    ]
    assert offered(labelled, "help", "exit") == ["exit-codes"]


def test_completion_prints_no_errors(cluster):
    """No server, or a wrong token: nothing is offered but what is known here."""
    for options in ({"url": "http://127.0.0.1:1"}, {"token": "wrong"}):
        for words in (("tasks", "show", ""), ("tasks", "--label", ""), ("users", "disable", "")):
            assert offered(cluster, *words, **options) == []
    assert offered(cluster, "run", "--agent", "cla", url="http://127.0.0.1:1") == ["claude-code"]
    for words in ((), ("",), ("--",), ("run", "--agent", "'"), ("tasks", "--label", "\\"), ("\x1b[31m",), ("=", ":")):
        offered(cluster, *words)
