"""The events of a batch as the text of a notification, for the replicas whose viewers wait for them.

``pack`` writes all but what only the database knows. ``append_batch`` puts that at the start of the first line: the
task, the number of the first event, and the time of the transaction in microseconds. Each further line is an event in
JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from app.log.encode import Entry, encode
from db.events import Batch
from db.model import EventRow

_PAYLOAD_BYTES = 7900  # Postgres takes fewer than 8000, and the database's numbers take at most 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LiveEvents:
    """Events that follow one another, as one notification brought them."""

    entries: list[Entry]
    stored_at: datetime


def pack(batch: Batch) -> str | None:
    """Write the events of a batch; None if they are larger than a notification."""
    if sum(event.size for event in batch.events) > _PAYLOAD_BYTES:
        return None  # most large batches are recognised without being encoded
    payload = b"\n".join([b"%d %d" % (batch.job, batch.attempt), *_lines(batch)])
    return payload.decode() if len(payload) <= _PAYLOAD_BYTES else None


def _lines(batch: Batch) -> Iterator[bytes]:
    for event in batch.events:
        text = binary = None
        if event.data is not None:
            try:
                text = event.data.decode()
            except UnicodeDecodeError:
                binary = base64.b64encode(event.data).decode()
        yield orjson.dumps([event.type, event.stream, event.at, text, binary, event.body])


def task_of(payload: str) -> int:
    """Return the number of the task whose events a payload has."""
    return int(payload.partition(" ")[0])


def unpack(payload: str) -> LiveEvents:
    """Read the events of a payload."""
    head, *lines = payload.split("\n")
    task_id, first_seq, microseconds, job, attempt = map(int, head.split(" "))
    stored_at = _EPOCH + timedelta(microseconds=microseconds)
    entries = []
    for seq, line in enumerate(lines, first_seq):
        kind, stream, at, text, binary, body = orjson.loads(line)
        data = text.encode() if binary is None and text is not None else binary and base64.b64decode(binary)
        at = datetime.fromisoformat(at).astimezone(UTC)  # as the log gives it
        entries.append(encode(EventRow(task_id, seq, job, attempt, kind, stream, at, stored_at, data, body)))
    return LiveEvents(entries, stored_at)
