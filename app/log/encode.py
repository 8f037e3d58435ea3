"""Writes an event of the log as the JSON that every reader gets, once per event and replica."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from db.model import EventRow

TERMINAL_TYPES = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, ready to send."""

    seq: int
    type: str
    job: int | None
    text: bytes
    """The event as JSON."""
    stream: str | None = None

    @property
    def terminal(self) -> bool:
        """Whether it is a terminal event of the task."""
        return self.type in TERMINAL_TYPES


def encode(event: EventRow) -> Entry:
    """Write one event; its output is text if all of it is UTF-8, and base64 otherwise."""
    shape: dict[str, Any] = {
        "taskId": f"task-{event.task_id}",
        "seq": event.seq,
        "job": event.job,
        "attempt": event.attempt,
        "type": event.type,
        "at": event.at,
        "storedAt": event.stored_at,
    }
    if event.type == "output":
        shape["stream"] = event.stream
        data = event.data or b""
        try:
            shape["data"] = data.decode()
        except UnicodeDecodeError:
            shape["data"] = base64.b64encode(data).decode()
            shape["encoding"] = "base64"
    if event.body:
        shape.update(orjson.loads(event.body))
    return Entry(event.seq, event.type, event.job, orjson.dumps(shape), event.stream)


def encode_all(events: Sequence[EventRow]) -> list[Entry]:
    """Write several events."""
    return [encode(event) for event in events]
