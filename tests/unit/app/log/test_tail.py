"""Which events a viewer gets, and where its reading ends."""

from contextlib import asynccontextmanager

import pytest

from app.log.encode import Entry
from app.log.feed import Feed
from app.log.tail import Selection, Tail
from db import events
from db.errors import DatabaseUnavailable
from db.events import LogState

STDOUT = Entry(1, "output", 0, b"", "stdout")
STDERR = Entry(2, "output", 1, b"", "stderr")
PROGRESS = Entry(3, "progress", 1, b"")
SUCCEEDED = Entry(4, "succeeded", None, b"")
LOG = [STDOUT, STDERR, PROGRESS, SUCCEEDED]
ENDED = LogState(4, ended=True, pruned=False)
OPEN = LogState(4, ended=False, pruned=False)


class FakeFeeds:
    """One feed with all events of a log in its window."""

    def __init__(self, entries):
        self.feed = Feed(1, 0, byte_limit=1000)
        self.feed.add(entries)

    @asynccontextmanager
    async def watching(self, _task_id, _last_seq):
        yield self.feed


async def read(entries, state, *, follow, cursor=0):
    tail = Tail(None, FakeFeeds(entries), retry_seconds=1)
    return [entry.seq async for entry in tail.read(1, cursor, state, follow=follow, selection=Selection())]


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (Selection(), LOG),
        (Selection(job=0), [STDOUT, SUCCEEDED]),
        (Selection(job=1), [STDERR, PROGRESS, SUCCEEDED]),
        (Selection(job=2), [SUCCEEDED]),
        (Selection(stream="stderr"), [STDERR, PROGRESS, SUCCEEDED]),
        (Selection(other=False, stream="stdout"), [STDOUT]),
        (Selection(output=False, job=0), [SUCCEEDED]),
    ],
)
def test_a_selection_has_its_jobs_and_streams_and_every_event_of_the_task_itself(selection, wanted):
    assert [entry for entry in LOG if selection.wants(entry)] == wanted


async def test_reading_an_ended_task_ends_with_its_log(monkeypatch):
    async def state(_db, _task_id):
        return ENDED

    monkeypatch.setattr(events, "state", state)
    assert await read(LOG, ENDED, follow=True) == [1, 2, 3, 4]
    assert await read(LOG, OPEN, follow=True) == [1, 2, 3, 4]
    assert await read(LOG, ENDED, follow=True, cursor=4) == []


async def test_without_follow_reading_ends_where_the_log_ended_when_it_began():
    assert await read(LOG, LogState(2, ended=False, pruned=False), follow=False) == [1, 2]
    assert await read(LOG, LogState(2, ended=False, pruned=False), follow=False, cursor=2) == []


async def test_reading_ends_when_the_task_was_removed(monkeypatch):
    async def state(_db, _task_id):
        return None

    monkeypatch.setattr(events, "state", state)
    assert await read(LOG, OPEN, follow=True) == [1, 2, 3, 4]


async def test_a_read_is_repeated_while_the_database_is_away():
    outcomes = iter([DatabaseUnavailable("away"), DatabaseUnavailable("away"), None])

    async def fetch():
        if error := next(outcomes):
            raise error
        return 7

    assert await Tail(None, None, retry_seconds=0.0).when_available(fetch) == 7


async def test_the_state_of_the_task_is_read_at_terminal_events_only(monkeypatch):
    """A retry has undone the first end."""
    states = iter([LogState(6, ended=False, pruned=False), LogState(6, ended=True, pruned=False)])

    async def state(_db, _task_id):
        return next(states)

    monkeypatch.setattr(events, "state", state)
    log = [*LOG, Entry(5, "retried", None, b""), Entry(6, "succeeded", None, b"")]
    assert await read(log, OPEN, follow=True) == [1, 2, 3, 4, 5, 6]
    assert next(states, None) is None
