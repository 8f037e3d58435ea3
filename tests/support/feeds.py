"""Events of a log, as a page and as a notification bring them."""

from datetime import UTC, datetime

from db.events import Batch, NewEvent
from db.model import EventRow
from support.live import notified

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row(seq, stored_at=NOON):
    return EventRow(1, seq, 0, 1, "output", "stdout", NOON, stored_at, b"x", None)


def payload(first, last, task_id=1, stored_at=NOON):
    events_of_batch = [NewEvent("output", "stdout", NOON, b"x", None)] * (last + 1 - first)
    return notified(Batch(task_id, 0, 1, "w1", 1, events_of_batch), first, stored_at)
