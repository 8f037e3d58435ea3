"""Pausing the real agents in the middle of a turn, while a tool runs: each goes on in the session that it had."""

import subprocess

import pytest
from support.models import command
from support.program import processes_in_network, until

AGENTS = ("claude-code", "gemini-cli", "codex", "opencode")
pytestmark = [pytest.mark.timeout(400), pytest.mark.parametrize("agent", AGENTS)]
TOOL = "do echo tick $i; sleep 2"


def events(plane, task, *types):
    rows = plane.sql(
        "select type, attempt, body from ado.events where task_id = %s and type = any(%s) order by seq",
        int(task.removeprefix("task-")), list(types),
    )  # fmt: skip
    return [{"type": kind, "attempt": attempt, **body} for kind, attempt, body in rows]


def sessions(plane, task, attempt):
    said = events(plane, task, "agent")
    return {event["sessionId"] for event in said if event["event"] == "session" and event["attempt"] == attempt}


@pytest.fixture
def repository(tmp_path):
    for more in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "Begin"]):
        named = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *named, *more], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_an_agent_that_is_paused_in_the_middle_of_a_turn_goes_on_in_its_session(plane, models, agent, repository):
    words = command(models, agent, "brieftool", "--detach", "-o", "name", "--repo")
    task = plane.ado(*words, check=0, cwd=repository).stdout.decode().strip()
    until(lambda: processes_in_network(TOOL), "the tool to run", 120)
    plane.ado("pause", task, check=0)
    until(lambda: plane.task(task)["status"] == "paused", "the pause", 60)
    assert not processes_in_network(TOOL)  # nothing of the attempt is left
    assert plane.sql("select running_jobs from ado.worker_status where worker_id = 'main'") == [(0,)]
    (released,) = events(plane, task, "released")
    assert (released["reason"], "message" in released) == ("paused", False)
    said = f"go on with the pause of {agent}"
    plane.ado("resume", task, said, check=0)
    plane.ado("wait", task, check=0, timeout=180)
    (first,) = sessions(plane, task, 1)
    assert sessions(plane, task, 2) == {first}
    (delivered,) = events(plane, task, "delivered")
    assert delivered["attempt"] == 2
    prompt = words[-1].encode()
    resumed = [body for body in models.asked if said.encode() in body]
    assert resumed
    assert all(prompt in body for body in resumed)  # the conversation before the pause is still there
