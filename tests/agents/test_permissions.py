"""claude-code asks a person before it runs a command: the real program, which reads the answer on its stdin."""

import json

import pytest
from support.models import ASKED, command
from support.program import until

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def careful(plane):
    """A worker whose agents are not isolated."""
    plane.add_worker("careful", "--capability", "claude-code", "--capability", "careful", env={"ADO_ISOLATED": "false"})
    return plane


def question_of(plane, task):
    def found():
        return json.loads(plane.ado("inbox", "--task", task, "-o", "json", check=0).stdout)["items"]

    until(found, "the question", 120)
    return found()[0]


def test_a_command_runs_once_a_person_has_approved_it(careful, models):
    words = command(models, "claude-code", "asktool", "--no-repo", "--require", "careful", "--wait-for-agent")
    task = careful.ado(*words[:-1], "--detach", "-o", "name", words[-1], check=0).stdout.decode().strip()
    question = question_of(careful, task)
    assert (question["kind"], question["tool"]) == ("permission", "Bash")
    assert ASKED in question["text"]
    careful.ado("approve", question["questionId"], check=0)
    until(lambda: careful.task(task)["status"] not in ("queued", "running"), "the end", 120)
    assert careful.task(task)["status"] == "succeeded"
    assert [event["ok"] for event in careful.events(task) if event.get("event") == "tool_end"] == [True]
