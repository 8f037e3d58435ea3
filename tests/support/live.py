"""Events as the database notifies them."""

from datetime import UTC, datetime, timedelta

from app.log.live import pack


def notified(batch, first_seq, stored_at):
    """Return the payload for a batch that was stored from a number on, at a moment."""
    microseconds = (stored_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return f"{batch.task_id} {first_seq} {microseconds} {pack(batch)}"
