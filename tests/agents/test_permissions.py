"""claude-code, and gemini-cli over ACP, ask a person before they run a command that they do not know as harmless."""

import json

import pytest
from support.models import ASKED, command
from support.program import until

pytestmark = pytest.mark.timeout(400)


PROGRAMS = {"ADO_ISOLATED": "false", "ADO_ACP_AGENTS": "gemini=gemini --acp", "ADO_SECRETS": "GEMINI_API_KEY"}


@pytest.fixture(scope="module")
def careful(plane):
    """A worker whose agents are not isolated."""
    offers = [
        word
        for name in ("claude-code", "gemini", "careful", "secret:GEMINI_API_KEY")
        for word in ("--capability", name)
    ]
    plane.add_worker("careful", *offers, env=PROGRAMS)
    yield plane
    plane.ado("workers", "drain", "careful", check=0)


def question_of(plane, task):
    def found():
        return json.loads(plane.ado("inbox", "--task", task, "-o", "json", check=0).stdout)["items"]

    until(found, "the question", 120)
    return found()[0]


@pytest.mark.parametrize(("agent", "tool"), [("claude-code", "Bash"), ("gemini", "execute")])
def test_a_command_runs_once_a_person_has_approved_it(careful, models, agent, tool):
    words = command(
        models, agent, "asktool", "--no-repo", "--require", "careful", "--approve", "ask", "--wait-for-agent"
    )
    words[1:1] = ["--secret", "GEMINI_API_KEY"] if agent == "gemini" else []
    task = careful.ado(*words[:-1], "--detach", "-o", "name", words[-1], check=0).stdout.decode().strip()
    question = question_of(careful, task)
    assert (question["kind"], question["tool"]) == ("permission", tool)
    assert ASKED in question["text"]
    careful.ado("approve", question["questionId"], check=0)
    until(lambda: careful.task(task)["status"] not in ("queued", "running"), "the end", 120)
    assert careful.task(task)["status"] == "succeeded"
    assert [event["ok"] for event in careful.events(task) if event.get("event") == "tool_end"] == [True]
