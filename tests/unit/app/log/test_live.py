"""Events that travel in a notification are those that the log has."""

from datetime import UTC, datetime, timedelta, timezone

import hypothesis.strategies as st
import orjson
from hypothesis import given
from support.live import notified

from app.log.encode import encode_all
from app.log.live import pack, task_of, unpack
from db.events import Batch, NewEvent
from db.model import EventRow

STORED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEYS = st.text(st.characters(codec="utf-8")) | st.sampled_from(["seq", "type", "job", "stream", "storedAt"])
BODIES = st.dictionaries(KEYS, st.integers(0, 9), max_size=5).map(lambda body: orjson.dumps(body).decode())
MOMENTS = st.datetimes(timezones=st.just(timezone(timedelta(hours=2))), min_value=STORED_AT.replace(tzinfo=None))
OUTPUT = st.builds(NewEvent, st.just("output"), st.sampled_from(["stdout", "stderr"]), MOMENTS, st.binary(), st.none())
OTHERS = st.builds(NewEvent, st.sampled_from(["agent", "usage"]), st.none(), MOMENTS, st.none(), BODIES)


def rows(batch, first, stored_at):
    return [
        EventRow(batch.task_id, seq, batch.job, batch.attempt, *event[:2], event.at.astimezone(UTC), stored_at,
                 *event[3:])
        for seq, event in enumerate(batch.events, first)
    ]  # fmt: skip


@given(st.lists(OUTPUT | OTHERS, min_size=1, max_size=5), st.integers(0, 10))
def test_whatever_their_bytes_viewers_get_what_the_log_would_give_them(events, microseconds):
    batch = Batch(12, 3, 2, "w1", 1, events)
    stored_at = STORED_AT + timedelta(microseconds=microseconds)
    payload = notified(batch, 41, stored_at)
    live = unpack(payload)
    assert task_of(payload) == 12
    assert live.entries == encode_all(rows(batch, 41, stored_at))
    assert live.stored_at == stored_at


def test_what_is_too_large_for_a_notification_is_read_from_the_log():
    sizes = {}
    for size in (7000, 7899, 7901):
        event = NewEvent("output", "stdout", STORED_AT, b"x" * size, None)
        payload = pack(Batch(1, 0, 1, "w1", 1, [event]))
        sizes[size] = payload and len(payload) < 8000
    assert sizes == {7000: True, 7899: None, 7901: None}
    event = NewEvent("output", "stdout", STORED_AT, "\0ü".encode() * 2000, None)  # NUL takes six bytes in JSON
    assert pack(Batch(1, 0, 1, "w1", 1, [event])) is None
