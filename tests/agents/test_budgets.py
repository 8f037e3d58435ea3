"""Budgets with the real agents: claude keeps to its dollars, and others are measured at the end of a turn."""

import pytest
from support.models import command

pytestmark = pytest.mark.timeout(300)


def begin(plane, models, agent, scenario, *more):
    words = command(models, agent, scenario, "--no-repo", "--detach", "-o", "name", *more)
    return plane.ado(*words, check=0, cwd="/").stdout.decode().strip()


def agent_events(plane, task, name):
    rows = plane.sql(
        "select body from ado.events where task_id = %s and type = 'agent' order by seq",
        int(task.removeprefix("task-")),
    )
    return [body for (body,) in rows if body["event"] == name]


def test_claude_stops_by_itself_at_the_dollars_that_are_left(plane, models):
    task = begin(plane, models, "claude-code", "tool", "--max-cost", "0.0008", "--on-budget", "fail")
    plane.ado("wait", task, check=1, timeout=200)
    job = plane.task(task)["jobs"][0]
    assert job["reason"] == "budget_exceeded"
    assert job["usage"]["costUsd"] == pytest.approx(0.000884)
    assert job["usage"]["inputTokens"] > 0
    assert agent_events(plane, task, "tool_end") == []


@pytest.mark.parametrize("agent", ["gemini-cli", "codex"])
def test_an_agent_that_reports_at_the_end_of_its_turn_is_not_stopped_within_it(plane, models, agent):
    task = begin(plane, models, agent, "tool", "--max-tokens", "100", "--on-budget", "fail")
    plane.ado("wait", task, check=0, timeout=200)
    usage = plane.task(task)["jobs"][0]["usage"]
    assert usage["inputTokens"] + usage["outputTokens"] > 100
    assert usage["turns"] == 1
