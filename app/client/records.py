"""What the records of answers and events are made of: their bases, ids, numbers and times."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

TaskId = Annotated[str, Meta(pattern=r"^task-[0-9]{1,19}$")]
JobId = Annotated[str, Meta(pattern=r"^task-[0-9]{1,19}/[0-9]{1,9}$")]
QuestionId = Annotated[str, Meta(pattern=r"^question-[0-9]{1,19}$")]
MessageId = Annotated[str, Meta(pattern=r"^message-[0-9]{1,19}$")]
Word = Annotated[str, Meta(pattern=r"^[a-z_]{1,64}$")]
Number = Annotated[int, Meta(ge=0, le=2**62)]
Integer = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Amount = Annotated[float, Meta(ge=0, le=1e30)]
Jobs = Annotated[int, Meta(ge=1, le=100_000)]
Time = Annotated[datetime, Meta(tz=True)]

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class Record(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of every record; camelCase on the wire."""


class Event(Record, frozen=True, kw_only=True):
    """Members of every event. ``seq`` counts from 1 for each task; events of the task itself have no job."""

    type: str
    task_id: str
    seq: int
    job: int | None
    attempt: int | None
    at: datetime
    stored_at: datetime


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event of a type or shape that this release does not know; ``members`` is the whole event."""

    members: dict[str, Any]
