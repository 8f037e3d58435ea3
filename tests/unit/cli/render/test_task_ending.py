"""The sentence for a failed task: what happened, which limit, and the next step."""

import pytest

from app.core.reasons import JOB_REASONS
from cli.render.task_ending import sentence


def task(reason, status="failed", **more):
    job = {"job": 0, "status": status, "reason": reason, "attempt": 1, **more}
    return {"taskId": "task-3", "status": status, "jobs": [job], "timeoutSeconds": 2.0}


def test_a_timeout_names_its_limit_and_its_option():
    assert sentence(task("timed_out")) == (
        "task-3 failed: timed out after 2 s (--timeout); give it longer with --timeout"
    )


def test_an_exit_code_is_named():
    assert sentence(task("exit_nonzero", exitCode=7)) == "task-3 failed: exited with 7"


def test_a_message_of_the_server_is_one_line():
    said = sentence(task("too_many_attempts", message="20 attempts ended\nthe last one: shutdown"))
    assert "20 attempts ended / the last one: shutdown" in said
    assert "ado retry task-3" in said


def test_the_last_line_of_a_program_is_shown_without_colours():
    assert "error: no space" in sentence(task("agent_error", message="\x1b[31merror\x1b[0m: no space\x1b[K"))


def test_a_cancelled_task_shows_the_reason():
    assert sentence({**task(None, "cancelled"), "message": "not needed"}) == "task-3 was cancelled: not needed"


def test_a_task_that_succeeded_has_no_sentence():
    assert sentence({"taskId": "task-3", "status": "succeeded", "jobs": []}) == ""


@pytest.mark.parametrize("reason", [*JOB_REASONS, "a_reason_of_a_newer_server", None])
def test_every_reason_gives_a_sentence(reason):
    said = sentence(task(reason))
    assert said.startswith("task-3 failed: ")
    assert "{" not in said
    assert "None" not in said


@pytest.mark.parametrize("status", ["queued", "running"])
def test_an_open_task_has_not_failed(status):
    assert sentence({"taskId": "task-3", "status": status, "jobs": [{"job": 0, "status": status}]}) == ""
