"""Stored events as the text of a notification, for the replicas whose viewers wait for them.

The first line has the task, the number of its first event and the time of their commit. Each event has a line: its
type, job and stream, and then the JSON that viewers get, which has no line break.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from app.log.encode import Entry, encode
from db.events import Batch, StoredBatch
from db.model import EventRow

_PAYLOAD_BYTES = 7900  # Postgres takes fewer than 8000


@dataclass(frozen=True, slots=True)
class LiveEvents:
    """Events that follow one another, as one notification brought them."""

    entries: list[Entry]
    stored_at: datetime


def pack(batch: Batch, stored: StoredBatch) -> str | None:
    """Write the events of a batch; None if they are larger than a notification."""
    if sum(event.size for event in batch.events) > _PAYLOAD_BYTES:
        return None  # most large batches are recognised without being encoded
    lines = [f"{batch.task_id} {stored.base + 1} {stored.stored_at.isoformat()}".encode()]
    for seq, event in enumerate(batch.events, stored.base + 1):
        row = EventRow(
            batch.task_id,
            seq,
            batch.job,
            batch.attempt,
            event.type,
            event.stream,
            event.at.astimezone(UTC),  # as the log gives it
            stored.stored_at,
            event.data,
            event.body,
        )
        lines.append(b"%b %d %b %b" % (event.type.encode(), batch.job, (event.stream or "").encode(), encode(row).text))
    payload = b"\n".join(lines)
    return payload.decode() if len(payload) <= _PAYLOAD_BYTES else None


def task_of(payload: str) -> int:
    """Return the number of the task whose events a payload has."""
    return int(payload.partition(" ")[0])


def unpack(payload: str) -> LiveEvents:
    """Read the events of a payload."""
    head, *lines = payload.encode().split(b"\n")
    _, first_seq, stored_at = head.decode().split(" ")
    entries = []
    for seq, line in enumerate(lines, int(first_seq)):
        kind, job, stream, text = line.split(b" ", 3)
        entries.append(Entry(seq, kind.decode(), int(job), text, stream.decode() or None))
    return LiveEvents(entries, datetime.fromisoformat(stored_at))
