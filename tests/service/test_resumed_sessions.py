"""An agent's session and files survive its worker."""

import json
import signal

import pytest
from support.program import until
from support.repositories import Checkout

from app.rpc.client import HttpClient


@pytest.fixture
def quick(cluster):
    """Workers that save whenever a turn ends."""
    for name in ("w0", "w1"):
        cluster.add_worker(name, env={"ADO_CHECKPOINT_SECONDS": "0"})
    return Checkout(cluster.home / "checkout", cluster)


def test_files_of_an_agent_without_a_repository_are_fetched(quick):
    client = HttpClient(quick.cluster.urls, quick.cluster.token)
    client.mutate("tasks.create", {"agent": "shell", "prompt": "echo hi > f", "workspace": {}})
    client.close()
    quick.ado("wait", "task-1", cwd="/")
    assert b"+hi" in quick.ado("diff", "task-1", cwd="/").stdout
    quick.ado("download", "task-1", ".", "--to", str(quick.path))
    assert quick.read("f") == "hi\n"


def lines(*steps):
    return "\n".join(json.dumps(step) for step in steps)


def end_holder(cluster, number):
    """Send a signal to the worker that holds the job, and see it end."""
    ((name,),) = cluster.sql("select worker_id from ado.jobs where status = 'running'")
    victim = next(process for process in cluster.processes if name in process.args)
    victim.send_signal(number)
    victim.wait(60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lost_worker_loses_no_turn(quick, number):
    """The next attempt has tree, session and path, and continues after the last turn."""
    cluster, gate = quick.cluster, quick.cluster.home / "gate"
    quick.commit({"first": "1\n"})
    script = lines(
        {"write": {"path": "second", "text": "2\n"}},
        {"say": "before"},
        {"turn": "conversation"},
        {"until": str(gate)},
        {"say": "after"},
        {"write": {"path": "third", "text": "3\n"}},
    )
    wish = ("run", "--remote", "--repo", "--agent", "scripted", "--detach", script)
    quick.ado(*wish)
    until(lambda: cluster.sql("select from ado.events where type = 'checkpoint'"), "a checkpoint")
    end_holder(cluster, number)
    gate.touch()
    quick.ado("wait", "task-1")
    events = cluster.events("task-1")
    assert {event["session"] for event in events if event["type"] == "checkpoint"} == {"conversation"}
    said = [event["data"] for event in events if event["type"] == "output"]
    assert said == ["before\n", "after\n"]
    assert [event["attempt"] for event in events if event["type"] == "started"] == [1, 2]
    assert "goes on where attempt 1" in "".join(event.get("message", "") for event in events)
    assert quick.ado("diff", "task-1", "--stat").stdout.decode().split("\n")[:2] == [" second | 1 +", " third  | 1 +"]
