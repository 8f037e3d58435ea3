"""Checks of tasks with the real agents: a check that fails goes on in the agent's conversation."""

import pytest
from support.models import command

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("agent", ["claude-code", "gemini-cli", "codex"])
def test_an_agent_gets_a_failed_check_in_its_session_and_succeeds_when_it_passes(plane, models, agent):
    check = f"test -f tried || {{ touch tried; echo {agent} look at line 7; exit 1; }}"
    words = command(models, agent, "tool", "--no-repo", "--detach", "-o", "name", "--check", check)
    task = plane.ado(*words, check=0, cwd="/").stdout.decode().strip()
    plane.ado("wait", task, check=0, timeout=200)
    rows = plane.sql(
        "select type, body from ado.events where task_id = %s and type in ('check', 'agent') order by seq",
        int(task.removeprefix("task-")),
    )
    assert [(body["exitCode"], body["try"]) for kind, body in rows if kind == "check"] == [(1, 1), (0, 2)]
    sessions = {body["sessionId"] for kind, body in rows if kind == "agent" and body["event"] == "session"}
    assert len(sessions) == 1
    assert any(f"{agent} look at line 7".encode() in body for body in models.asked)
