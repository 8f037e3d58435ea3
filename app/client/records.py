"""What the records of answers are made of: their base, ids, numbers and times."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

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
