"""The shapes of the events in a task's log, one for each value of the member ``type``.

Events are sent as the JSON that was stored. These shapes describe that JSON, for programs written against
``ado.d.ts`` and for the tests that compare the log with them. They are made from the records of ``app.client.events``,
which readers of every release use: there an absent member is None, and a word may be one that this release does not
know.
"""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from operator import or_
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_type_hints

from msgspec import UNSET, Struct, UnsetType, defstruct, field
from msgspec.structs import fields

from app.client import models
from app.client.agent_events import AgentEvent as AgentRecord
from app.client.events import BY_AGENT_EVENT, BY_TYPE
from app.client.records import Event
from app.rpc.words import closed_words_of
from app.shapes.records import Usage, Worker
from db.model import Status

_ALWAYS_STORED = {"RetriedEvent": {"by"}, "CancelRequestedEvent": {"reason", "by"}}
"""Members that are null where they have no value; others are absent."""
_ABSENT_OR_NULL = {"FinishedEvent": {"reason", "message"}}
"""Members that are absent from some events and null in others."""


class LogEvent(Struct, rename="camel", tag_field="type", kw_only=True):
    """What every event carries: ``seq`` counts 1, 2, 3 … per task; the task's own events have no job or attempt."""

    task_id: str
    seq: int
    job: int | None
    attempt: int | None
    at: datetime
    stored_at: datetime


class _AgentEvent(Struct, rename="camel", tag_field="event", kw_only=True):
    """What every kind of ``agent`` event carries: the agent's line, or as much of it as fits one event."""

    raw: str | UnsetType = UNSET
    raw_continues: bool | UnsetType = UNSET
    """Whether the next event continues the line."""


def _stored(hint: Any) -> Any:
    """Return the type of a member that has a value, from that of a record."""
    if hint is models.Usage:
        return Usage
    if (values := closed_words_of(hint)) is not None:
        return values
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return _stored(kinds[0]) if NoneType in get_args(hint) and len(kinds) == 1 else hint


def _shape_of(record: type[Event], base: type[Struct], tag: str) -> type[Struct]:
    """Return the shape of the events that a record reads."""
    hints = get_type_hints(record, include_extras=True)
    members: list[tuple[str, Any, Any]] = []
    inherited = {member.name for member in fields(AgentRecord if base is _AgentEvent else Event)}
    for member in fields(record):
        if member.name in inherited:
            continue
        kind = _stored(hints[member.name])
        if member.name in _ALWAYS_STORED.get(record.__name__, ()):
            members.append((member.name, kind | None, field(name=member.encode_name, default=None)))
        elif member.required:
            members.append((member.name, kind, field(name=member.encode_name)))
        else:
            if member.name in _ABSENT_OR_NULL.get(record.__name__, ()):
                kind |= None
            members.append((member.name, kind | UnsetType, field(name=member.encode_name, default=UNSET)))
    return defstruct(
        record.__name__, members, bases=(base,), namespace={"__doc__": record.__doc__}, tag=tag, kw_only=True
    )


_AGENT_SHAPES = [_shape_of(record, _AgentEvent, tag) for tag, record in BY_AGENT_EVENT.items()]
_SHAPES = {tag: _shape_of(record, LogEvent, tag) for tag, record in BY_TYPE.items()}

if TYPE_CHECKING:
    AgentSaid: TypeAlias = Any
    OutputEvent: TypeAlias = Any
    AnyEvent: TypeAlias = Any
else:
    AgentSaid = reduce(or_, _AGENT_SHAPES)
    OutputEvent = _SHAPES["output"]

    class AgentEvent(LogEvent, tag="agent"):
        """A normalised step of an AI agent; the member ``event`` names its kind."""

        variants = AgentSaid

    AnyEvent = reduce(or_, (*_SHAPES.values(), AgentEvent))


class TaskState(Struct, rename="camel"):
    """A task in ``stream.systemEvents``."""

    task_id: str
    status: Status
    last_seq: int | UnsetType = UNSET


class Snapshot(Struct, tag_field="type", tag="snapshot"):
    """Workers and open tasks at the beginning of a subscription; not the workers that stopped a minute ago or more."""

    workers: list[Worker]
    tasks: list[TaskState]


class TaskChange(Struct, tag_field="type", tag="task"):
    """The state of a task changed."""

    task: TaskState


class WorkerChange(Struct, tag_field="type", tag="worker"):
    """The state of a worker changed, or the worker is new."""

    worker: Worker


class WorkerRemoved(Struct, tag_field="type", tag="worker_removed", rename="camel"):
    """A worker is no longer listed."""

    worker_id: str


SystemEvent: TypeAlias = Snapshot | TaskChange | WorkerChange | WorkerRemoved
"""Any item of ``stream.systemEvents``."""
