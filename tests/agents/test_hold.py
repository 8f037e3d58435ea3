"""A real agent asks, nobody answers for a while, and the next attempt begins with the answer.

It asks for a permission, or by ``ado ask`` in one of its tools.
"""

import json
import subprocess

import pytest
from support.models import command
from support.program import until

pytestmark = pytest.mark.timeout(400)


def events(plane, task, *types):
    rows = plane.sql(
        "select type, attempt, body from ado.events where task_id = %s and type = any(%s) order by seq",
        int(task.removeprefix("task-")), list(types),
    )  # fmt: skip
    return [{"type": kind, "attempt": attempt, **body} for kind, attempt, body in rows]


@pytest.fixture
def repository(tmp_path):
    for more in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "Begin"]):
        named = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *named, *more], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_claude_code_is_paused_for_its_question_and_goes_on_with_the_answer(plane, models, repository):
    hasty = {"ADO_QUESTION_HOLD_SECONDS": "2", "ADO_ISOLATED": "false"}  # so commands need a permission
    plane.add_worker("hasty", "--capability", "claude-code", "--capability", "hasty", env=hasty)
    words = command(models, "claude-code", "brieftool", "--detach", "-o", "name", "--repo")
    words[1:1] = ["--require", "hasty"]
    task = plane.ado(*words, check=0, cwd=repository).stdout.decode().strip()
    until(lambda: plane.task(task)["status"] not in ("queued", "running"), "the pause", 120)
    assert plane.task(task)["status"] == "paused", plane.sql("select type, body from ado.events")[-20:]
    (released,) = events(plane, task, "released")
    assert (released["reason"], released["paused"], "message" in released) == ("question", True, False)
    (question,) = json.loads(plane.ado("inbox", "--task", task, "-o", "json", check=0).stdout)["items"]
    assert question["state"] == "open"
    assert plane.sql("select running_jobs from ado.worker_status where worker_id = 'hasty'") == [(0,)]
    asked = {question["input"] and json.dumps(question["input"])}
    while plane.task(task)["status"] not in ("succeeded", "failed"):  # each tool that the model calls is one question
        plane.ado("approve", question["questionId"], check=0)
        until(lambda: plane.task(task)["status"] in ("paused", "succeeded", "failed"), "the next question", 120)
        for question in json.loads(plane.ado("inbox", "--task", task, "-o", "json", check=0).stdout)["items"]:
            assert json.dumps(question["input"]) not in asked  # what was allowed is not asked for again
            asked.add(json.dumps(question["input"]))
    assert plane.task(task)["status"] == "succeeded"
    sessions = {event["sessionId"] for event in events(plane, task, "agent") if event["event"] == "session"}
    assert len(sessions) == 1
    assert next(event["attempt"] for event in events(plane, task, "delivered")) == 2
    plane.ado("workers", "drain", "hasty", check=0)


def test_a_question_of_an_agents_tool_pauses_its_job_and_is_asked_once(plane, models, repository):
    hasty = {"ADO_QUESTION_HOLD_SECONDS": "2"}
    plane.add_worker("asks", "--capability", "claude-code", "--capability", "asks", env=hasty)
    words = command(models, "claude-code", "askperson", "--detach", "-o", "name", "--repo", "--approve", "all")
    words[1:1] = ["--require", "asks"]
    task = plane.ado(*words, check=0, cwd=repository).stdout.decode().strip()
    until(lambda: plane.task(task)["status"] not in ("queued", "running"), "the pause", 120)
    assert plane.task(task)["status"] == "paused", plane.sql("select type, body from ado.events")[-20:]
    assert plane.sql("select running_jobs from ado.worker_status where worker_id = 'asks'") == [(0,)]
    (question,) = json.loads(plane.ado("inbox", "--task", task, "-o", "json", check=0).stdout)["items"]
    assert question["text"] == "Which colour?"
    plane.ado("answer", question["questionId"], "blue", check=0)
    until(lambda: plane.task(task)["status"] in ("paused", "succeeded", "failed"), "the end", 120)
    assert plane.task(task)["status"] == "succeeded"
    assert len(events(plane, task, "question")) == 1
    (message,) = events(plane, task, "message")
    assert message["text"] == 'Your question "Which colour?" was answered: blue'
    sessions = {event["sessionId"] for event in events(plane, task, "agent") if event["event"] == "session"}
    assert len(sessions) == 1
    plane.ado("workers", "drain", "asks", check=0)
