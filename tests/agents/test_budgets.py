"""Budgets with the real agents: claude keeps to its dollars, and others are measured at the end of a turn."""

import pytest
from support.models import command
from support.program import until

pytestmark = pytest.mark.timeout(300)


def begin(plane, models, agent, scenario, *more):
    words = command(models, agent, scenario, "--no-repo", "--detach", "-o", "name", *more)
    return plane.ado(*words, check=0, cwd="/").stdout.decode().strip()


def bodies(plane, task, kind):
    rows = plane.sql(
        "select body from ado.events where task_id = %s and type = %s order by seq",
        int(task.removeprefix("task-")), kind,
    )  # fmt: skip
    return [body for (body,) in rows]


def agent_events(plane, task, name):
    return [body for body in bodies(plane, task, "agent") if body["event"] == name]


def test_claude_stops_by_itself_at_the_dollars_that_are_left(plane, models):
    task = begin(plane, models, "claude-code", "tool", "--max-cost", "0.0008", "--on-budget", "fail")
    plane.ado("wait", task, check=1, timeout=200)
    job = plane.task(task)["jobs"][0]
    assert job["reason"] == "budget_exceeded"
    assert job["usage"]["costUsd"] == pytest.approx(0.000884)
    assert job["usage"]["inputTokens"] > 0
    assert agent_events(plane, task, "tool_end") == []


def test_claude_goes_on_in_its_session_when_a_person_raises_its_limits(plane, models):
    """Two are reached at once: that of tokens stops it after its first tool, and no other turn is left."""
    limits, raised = ("--max-tokens", "100", "--max-turns", "1"), ["tokens", "turns"]
    task = begin(plane, models, "claude-code", "twostep", *limits, "--on-budget", "ask")
    for count, name in enumerate(raised, 1):
        until(lambda count=count: len(bodies(plane, task, "question")) == count, f"the question about {name}", 120)
        question = bodies(plane, task, "question")[-1]
        assert (question["kind"], [option["id"] for option in question["options"]]) == ("budget", ["raise", "stop"])
        plane.ado("answer", question["questionId"], "raise", check=0)
    plane.ado("wait", task, check=0, timeout=200)
    assert [list(event["limit"]) for event in bodies(plane, task, "budget")] == [[name] for name in raised]
    assert len({event["sessionId"] for event in agent_events(plane, task, "session")}) == 1
    (job,) = plane.task(task)["jobs"]
    assert (job["attempt"], job["usage"]["turns"]) == (1, 2)
    assert "users=2" in agent_events(plane, task, "result")[-1]["message"]
    assert any(b"A person has raised it" in body and b"use your tools" in body for body in models.asked)


@pytest.mark.parametrize("agent", ["gemini-cli", "codex"])
def test_an_agent_that_reports_at_the_end_of_its_turn_is_not_stopped_within_it(plane, models, agent):
    task = begin(plane, models, agent, "tool", "--max-tokens", "100", "--on-budget", "fail")
    plane.ado("wait", task, check=0, timeout=200)
    usage = plane.task(task)["jobs"][0]["usage"]
    assert usage["inputTokens"] + usage["outputTokens"] > 100
    assert usage["turns"] == 1
