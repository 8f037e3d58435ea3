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


def test_a_pause_before_the_first_turn_of_an_attempt_leaves_the_session_as_it_was(quick):
    cluster, home = quick.cluster, quick.cluster.home
    quick.commit({"first": "1\n"})
    wait = f"touch {home}/setup; while [ ! -e {home}/gate ]; do sleep 0.1; done"
    script = lines({"say": "before"}, {"turn": "conversation"}, {"until": str(home / "gate")}, {"say": "after"})
    wish = ("run", "--remote", "--repo", "--agent", "scripted", "--detach")
    quick.ado(*wish, "--setup", f"[ $ADO_ATTEMPT = 1 ] || {{ {wait}; }}", script)
    until(lambda: cluster.sql("select from ado.events where type = 'checkpoint'"), "the turn's checkpoint")
    quick.ado("pause", "task-1")
    until(lambda: cluster.task("task-1")["status"] == "paused", "the first pause")
    quick.ado("resume", "task-1")
    until((home / "setup").exists, "the setup of the second attempt")
    quick.ado("pause", "task-1")
    until(lambda: cluster.task("task-1")["status"] == "paused", "the second pause")
    (home / "gate").touch()
    quick.ado("resume", "task-1")
    quick.ado("wait", "task-1")
    events = cluster.events("task-1")
    assert [event.get("message") for event in events if event["type"] == "released"] == [None, None]
    assert [event["data"] for event in events if event["type"] == "output"] == ["before\n", "after\n"]
