"""The client's records have the members of what the server publishes, and the client imports no server."""

import inspect
import subprocess
import sys
from datetime import UTC, datetime

import msgspec
import pytest

from app.client import AsyncAdo, UnknownEvent, models
from app.client.events import event_of
from app.procedures import autoscale, job_input, kv, messages, questions, task_lists, tasks, workers
from app.shapes import log_events, records
from app.shapes.log_events import AgentSaid

OF_SERVER = {
    **{
        name: getattr(records, name)
        for name in (
            *("AttemptRef", "Job", "JobPod", "Resources", "Result", "Spawner", "Task", "Usage", "Wait", "Worker"),
            *("Budget", "Checks", "WorkerObstacle"),
        )
    },
    **{
        name: getattr(workers, name)
        for name in ("ForgottenFailures", "Queue", "Scale", "UnhealthyAgent", "Waiting", "WorkerList")
    },
    "Autoscale": autoscale.Autoscale,
    "AutoscaleLimits": autoscale.AutoscaleInput,
    "WorkersStatus": workers.WorkersStatus,
    "Value": kv.Value,
    "Values": kv.Values,
    "TaskPage": task_lists.TaskPage,
    **{name: getattr(messages, name) for name in ("Message", "MessageJob")},
    "MessagePage": messages.Messages,
    "Received": job_input.Received,
    "Removed": tasks.Removed,
    "QuestionList": questions.QuestionPage,
    **{name: getattr(questions, name) for name in ("Answer", "Question", "QuestionOption")},
}
RECORDS = [record for record in vars(models).values() if isinstance(record, type) and issubclass(record, models.Record)]
BASE = {
    "taskId": "task-1",
    "seq": 1,
    "job": 0,
    "attempt": 1,
    "at": "2026-01-01T00:00:00Z",
    "storedAt": "2026-01-01T00:00:00Z",
}


def members(record):
    return {field.encode_name for field in msgspec.structs.fields(record)}


@pytest.mark.parametrize("record", [record for record in RECORDS if record is not models.Record])
def test_a_record_has_the_members_of_the_servers_shape(record):
    assert members(record) == members(OF_SERVER[record.__name__])


@pytest.mark.parametrize(
    ("method", "shape"),
    [
        (AsyncAdo.create_task, tasks.TaskCreateInput),
        (AsyncAdo.list_tasks, task_lists.TaskListInput),
        (AsyncAdo.update_task, tasks.UpdateInput),
    ],
)
def test_a_call_takes_what_its_procedure_takes(method, shape):
    fields = {field.name for field in msgspec.structs.fields(shape)}
    assert set(inspect.signature(method).parameters) - {"self"} == fields


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("output", {"stream": "of_a_later_release", "data": "x"}),
        ("progress", {"percent": None}),
        ("agent", {"event": "permission", "tool": "Bash", "decision": "of_a_later_release", "message": "m"}),
    ],
)
def test_a_published_event_is_strict_where_a_record_reads_what_other_releases_send(kind, members):
    event = {**BASE, "type": kind, **members}
    assert not isinstance(event_of(event), UnknownEvent)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(members if kind == "agent" else event, AgentSaid if kind == "agent" else log_events.AnyEvent)


def test_a_published_event_has_null_only_where_the_server_stores_it():
    msgspec.convert({**BASE, "type": "retried", "jobs": [0], "by": None}, log_events.AnyEvent)
    msgspec.convert({**BASE, "type": "finished", "outcome": "failed", "reason": None}, log_events.AnyEvent)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**BASE, "type": "failed", "reason": None}, log_events.AnyEvent)


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "of_a_later_release", "x": 1},
        {"type": "agent", "event": "of_a_later_release"},
        {"type": "agent", "event": ["list"]},
        {"type": "agent"},
        {"type": "progress", "percent": "half"},
        {"type": "agent", "event": "text", "text": None, "members": 5},
    ],
)
def test_an_event_of_another_shape_is_kept_as_it_is(odd):
    event = event_of({**BASE, **odd})
    assert isinstance(event, UnknownEvent)
    assert (event.seq, event.type, event.members) == (1, odd["type"], {**BASE, **odd})


@pytest.mark.parametrize("garbage", [None, 5, "x", [], {}, {"type": "output"}, {**BASE, "type": 5}])
def test_a_value_that_is_not_an_event_is_refused(garbage):
    with pytest.raises(msgspec.ValidationError):
        event_of(garbage)


def test_records_are_frozen_and_times_have_a_zone():
    event = event_of({**BASE, "type": "started", "workerId": "w"})
    assert event.at == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(AttributeError):
        event.seq = 2


def test_the_client_imports_no_server_library():
    heavy = "litestar asyncpg psycopg psycopg_pool kubernetes uvicorn cyclopts rich db sql worker cli app.routers"
    code = f"import sys, app.client; print([name for name in {heavy.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
