"""Which answers of a server the command line refuses."""

import pytest

from cli.remote.checked_calls import check

JOB = {"jobId": "task-1/0", "job": 0, "status": "queued", "attempt": 0}
TASK = {
    "taskId": "task-1", "status": "queued", "prompt": "p", "agent": "shell", "workers": 1, "requires": [],
    "resources": {}, "priority": 0, "labels": {}, "version": 1, "createdAt": "2026-01-01T00:00:00Z", "jobs": [JOB],
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"taskId": "../../x"},
        {"status": "unheard_of"},
        {"jobs": [{**JOB, "status": "unheard_of"}]},
        {"jobs": [{**JOB, "jobId": "task-1/../2"}]},
        {"createdAt": "2026-01-01T00:00:00"},
        {"priority": 2**63},
        {"workers": 0},
    ],
    ids=str,
)
def test_a_task_with_a_member_that_is_not_what_it_must_be_is_refused(change):
    check("tasks.get", TASK)
    check("tasks.list", {"items": [TASK]})
    with pytest.raises(ValueError, match=r"Expected|Invalid enum value 'unheard_of'"):
        check("tasks.get", {**TASK, **change})
    with pytest.raises(ValueError, match=r"Expected|Invalid enum value 'unheard_of'"):
        check("tasks.list", {"items": [{**TASK, **change}]})


EVENT = {
    "taskId": "task-1", "seq": 1, "job": 0, "attempt": 1, "at": "2026-01-01T00:00:00Z",
    "storedAt": "2026-01-01T00:00:00Z",
}  # fmt: skip


@pytest.mark.parametrize("value", [[[]], {}, 5, None, "x"])
def test_members_of_an_event_that_a_job_wrote_may_be_anything(value):
    event = {**EVENT, "type": "agent", "stream": value, "data": value, "encoding": value, "event": value}
    check("stream.taskEvents", event)


@pytest.mark.parametrize("change", [{"stream": [[]]}, {"data": 5}, {"encoding": "x"}, {"job": None}, {"data": "?"}])
def test_output_that_is_none_is_refused(change):
    output = {**EVENT, "type": "output", "stream": "stdout", "data": "AA==", "encoding": "base64"}
    check("stream.taskEvents", output)
    with pytest.raises(ValueError, match=r"Expected|Invalid enum value|base64"):
        check("stream.taskEvents", {**output, **change})
