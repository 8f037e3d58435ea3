"""The client's records have the members of what the server publishes, and the client imports no server."""

import inspect
import subprocess
import sys
from datetime import UTC, datetime
from typing import get_args

import msgspec
import pytest

from app.client import AsyncAdo, UnknownEvent, events, models
from app.client.events import BY_AGENT_EVENT, BY_TYPE, event_of
from app.procedures import autoscale, job_input, kv, messages, questions, task_lists, tasks, workers
from app.shapes import log_events, records
from app.shapes.agent_events import AgentSaid

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


def required(record):
    return {field.encode_name for field in msgspec.structs.fields(record) if field.required}


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


def test_there_is_a_record_for_every_type_of_event_with_its_members():
    published = {shape.__struct_config__.tag: shape for shape in get_args(log_events.AnyEvent)}
    assert published.keys() - {"agent"} == BY_TYPE.keys()
    for kind, record in BY_TYPE.items():
        assert members(record) - {"type"} == members(published[kind]), kind
        assert required(record) - {"type"} <= required(published[kind]), kind


def test_there_is_a_record_for_every_kind_of_agent_event_with_its_members():
    published = {shape.__struct_config__.tag: shape for shape in get_args(AgentSaid)}
    assert published.keys() == BY_AGENT_EVENT.keys()
    for kind, record in BY_AGENT_EVENT.items():
        assert members(record) - members(events.Event) - {"event"} == members(published[kind]), kind


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
