"""opencode over ACP: it asks a person, takes a message as its next turn, and mends a failed check."""

import json

import pytest
from support.model_wires import USED
from support.models import ASKED, command
from support.program import until

pytestmark = pytest.mark.timeout(400)
DOLLARS_A_CALL = (3 * USED[0] + 15 * USED[1]) / 1e6


def events(plane, task, *types):
    rows = plane.sql(
        "select type, attempt, body from ado.events where task_id = %s and type = any(%s) order by seq",
        int(task.removeprefix("task-")), list(types),
    )  # fmt: skip
    return [{"type": kind, "attempt": attempt, **body} for kind, attempt, body in rows]


def test_a_question_a_message_and_a_failed_check_are_settled_in_one_session(plane, models):
    careful = {"ADO_ISOLATED": "false"}
    plane.add_worker("careful", "--capability", "opencode", "--capability", "careful", env=careful)
    check = "test -f tried || { touch tried; echo look at line 7; exit 1; }"
    words = command(models, "opencode", "asktool", "--no-repo", "--require", "careful", "--approve", "ask")
    words[-1:-1] = ["--check", check, "--max-cost", "1", "--detach", "-o", "name"]
    task = plane.ado(*words, check=0).stdout.decode().strip()
    until(lambda: events(plane, task, "question"), "the question", 120)
    (question,) = json.loads(plane.ado("inbox", "--task", task, "-o", "json", check=0).stdout)["items"]
    assert (question["kind"], question["tool"]) == ("permission", "execute")
    assert ASKED in question["text"]
    plane.ado("send", task, "mind the tabs", check=0)
    plane.ado("approve", question["questionId"], "--always", check=0)
    plane.ado("wait", task, check=0, timeout=180)

    said = events(plane, task, "agent")
    assert len({event["sessionId"] for event in said if event["event"] == "session"}) == 1
    answers = [event["message"] for event in said if event["event"] == "result"]
    assert [f"users={number}" in answer for number, answer in enumerate(answers, 1)] == [True] * 3
    assert "mind the tabs" in answers[1]
    assert any(b"look at line 7" in body for body in models.asked)
    assert [event["ok"] for event in said if event["event"] == "tool_end"] == [True] * 3
    assert [(event["exitCode"], event["try"]) for event in events(plane, task, "check")] == [(1, 1), (0, 2)]
    assert [event["attempt"] for event in events(plane, task, "delivered")] == [1]
    assert len(events(plane, task, "question")) == 1
    usage = plane.task(task)["jobs"][0]["usage"]
    assert usage["costUsd"] == pytest.approx(6 * DOLLARS_A_CALL)  # two calls a turn
    assert usage["inputTokens"] == 3 * USED[0]  # of the last call of each turn
    plane.ado("workers", "drain", "careful", check=0)
