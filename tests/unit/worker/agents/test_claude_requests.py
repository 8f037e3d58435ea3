"""What claude asks its worker, and the answers on its stdin."""

import json
from pathlib import Path

import pytest

from worker.agents import AGENTS
from worker.agents.base import Run
from worker.agents.requests import PersonsAnswer
from worker.processes.process import ProcessEnd

ALLOW, DENY = PersonsAnswer("allow", by="anna"), PersonsAnswer("deny", by="anna")
LATE = PersonsAnswer(unanswered="nobody answered in time")
DENIALS = [{"tool_name": "Bash", "tool_use_id": "tool-1"}]


def reader_of(**values):
    return AGENTS["claude-code"].reader(Run("x", Path("/job"), Path("/home"), **values))


def request(tool="Bash", value=None, **members):
    asked = {"subtype": "can_use_tool", "tool_name": tool, "tool_use_id": "tool-1", "input": value or {}, **members}
    return {"type": "control_request", "request_id": "r1", "request": asked}


def asked(reader, line):
    """Return what the reader makes of a line."""
    assert reader.feed(line) == []
    return reader.requests.pop()


def answered(made, *answers):
    line = made.reply(answers)
    assert line.endswith("\n")
    reply = json.loads(line)
    assert (reply["type"], reply["response"]["request_id"]) == ("control_response", "r1")
    return reply["response"]


def end(reader):
    reader.feed({"type": "result", "subtype": "success", "permission_denials": DENIALS, "usage": {"input_tokens": 1}})
    return reader.outcome(ProcessEnd(0))


def test_a_tool_is_a_question_with_its_input():
    (question,) = asked(reader_of(), request(value={"command": "rm -rf x"})).questions
    assert (question.key, question.kind, question.tool) == ("r1", "permission", "Bash")
    assert (question.text, question.input) == ("use Bash: rm -rf x", {"command": "rm -rf x"})


def test_a_long_title_is_cut():
    (question,) = asked(reader_of(), request(value={"command": "x" * 10**6})).questions
    assert len(question.text) < 600
    assert question.text.endswith("x…")


@pytest.mark.parametrize(
    ("answer", "response"),
    [
        (ALLOW, {"behavior": "allow"}),
        (DENY, {"behavior": "deny", "message": "anna refused it."}),
        (PersonsAnswer("deny", "not on Fridays", "anna"), {"behavior": "deny", "message": "not on Fridays"}),
        (LATE, {"behavior": "deny", "message": "Nobody could decide: nobody answered in time"}),
    ],
)
def test_an_answer_is_written_without_the_input_that_is_masked_here(answer, response):
    assert answered(asked(reader_of(), request()), answer) == {
        "subtype": "success",
        "request_id": "r1",
        "response": response,
    }


@pytest.mark.parametrize(("answer", "reason"), [(DENY, None), (LATE, "permission_denied")])
def test_only_a_refusal_that_nobody_decided_is_a_failure(answer, reason):
    reader = reader_of()
    answered(asked(reader, request()), answer)
    assert end(reader).reason == reason


def test_refusals_are_no_failure_of_an_agent_that_may_only_plan():
    assert end(reader_of(approve="edits")).reason == "permission_denied"
    reader = reader_of(approve="none")
    reader.feed({"type": "system", "subtype": "permission_denied", "tool_name": "Write", "tool_use_id": "2"})
    assert end(reader).outcome == "succeeded"


CHOICE = {
    "question": "Which colour?",
    "options": [{"label": "red", "description": "warm"}, {"label": "blue", "description": "cold"}],
}
SEVERAL = {**CHOICE, "question": "Which ones?", "multiSelect": True}


def test_its_own_questions_are_answered_by_a_person():
    made = asked(reader_of(), request("AskUserQuestion", {"questions": [CHOICE, SEVERAL]}))
    first, second = made.questions
    assert (first.kind, first.text, first.options[1]) == (
        "choice", "Which colour?", {"id": "blue", "label": "blue: cold"},
    )  # fmt: skip
    assert (second.kind, second.text) == ("text", "Which ones? (one or more of: red, blue)")
    assert first.key != second.key
    response = answered(made, PersonsAnswer("blue"), PersonsAnswer(text="both"))["response"]
    assert response["behavior"] == "allow"
    assert response["updatedInput"]["answers"] == {"Which colour?": "blue", "Which ones?": "both"}
    assert response["updatedInput"]["questions"] == [CHOICE, SEVERAL]


def test_its_own_questions_are_refused_if_one_has_no_answer():
    made = asked(reader_of(), request("AskUserQuestion", {"questions": [CHOICE, SEVERAL]}))
    assert answered(made, PersonsAnswer("blue"), LATE)["response"]["behavior"] == "deny"


@pytest.mark.parametrize("value", [{}, {"questions": 3}, {"questions": [{}]}, {"questions": ["x"]}, {"questions": []}])
def test_questions_of_an_unknown_form_are_a_permission(value):
    (question,) = asked(reader_of(), request("AskUserQuestion", value)).questions
    assert question.kind == "permission"


def test_a_request_that_is_not_known_is_answered_with_an_error():
    made = asked(reader_of(), request(subtype="hook_callback"))
    assert made.questions == []
    assert answered(made) == {"subtype": "error", "request_id": "r1", "error": "ado does not answer hook_callback"}


@pytest.mark.parametrize(
    ("approve", "words", "asks"),
    [
        ("ask", "--permission-mode default", True),
        ("edits", "--permission-mode acceptEdits", True),
        ("all", "--dangerously-skip-permissions", False),
        ("none", "--permission-mode plan", False),
    ],
)
def test_an_approval_is_an_option_of_claude(tmp_path, monkeypatch, approve, words, asks):
    program = tmp_path / "claude"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    launch = AGENTS["claude-code"].launch(Run("x", tmp_path, tmp_path, approve=approve))
    assert words in " ".join(launch.argv)
    assert ("--permission-prompt-tool stdio" in " ".join(launch.argv)) == asks
    with_input = AGENTS["claude-code"].launch(Run("x", tmp_path, tmp_path, approve=approve, stdin=True))
    assert "--permission-prompt-tool" not in with_input.argv
