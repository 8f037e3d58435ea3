"""Which events a viewer gets, and where its reading ends."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from app.log.encode import Entry
from app.log.feed import Feed
from app.log.tail import Selection, Tail
from db import events
from db.errors import DatabaseUnavailable, LogPruned, LogRewound
from db.events import EventFilter, EventPage, LogState, SelectedPage
from db.model import EventRow

STDOUT = Entry(1, "output", 0, b"", "stdout")
STDERR = Entry(2, "output", 1, b"", "stderr")
PROGRESS = Entry(3, "progress", 1, b"")
SUCCEEDED = Entry(4, "succeeded", None, b"")
LOG = [STDOUT, STDERR, PROGRESS, SUCCEEDED]
ENDED = LogState(4, ended=True, pruned=False)
OPEN = LogState(4, ended=False, pruned=False)


ALL = Selection()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class FakeFeeds:
    """One feed with all events of a log in its window, or, with a window of no bytes, pages of a log."""

    def __init__(self, entries, *, window=1000, pages=()):
        self.feed = Feed(1, 0, byte_limit=window)
        self.feed.add(entries)
        self.pages = iter(pages)
        self.read = []

    @asynccontextmanager
    async def watching(self, _task_id, _last_seq):
        yield self.feed

    async def page(self, task_id, cursor):
        self.read.append((task_id, cursor))
        return next(self.pages)

    async def selected_page(self, task_id, cursor, wanted):
        self.read.append((task_id, cursor, wanted))
        return next(self.pages)


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


@pytest.mark.timeout(10)
async def test_without_follow_reading_does_not_wait_for_the_end_of_the_task():
    assert await read(LOG[:3], LogState(3, ended=False, pruned=False), follow=False) == [1, 2, 3]


async def test_reading_ends_when_the_task_was_removed(monkeypatch):
    async def state(_db, _task_id):
        return None

    monkeypatch.setattr(events, "state", state)
    assert await read(LOG, OPEN, follow=True) == [1, 2, 3, 4]


async def test_a_follower_waits_for_the_next_event_and_learns_that_the_log_was_rewound():
    feeds = FakeFeeds(LOG[:3])
    state = LogState(3, ended=False, pruned=False)
    reading = Tail(None, feeds, retry_seconds=1).read(1, 3, state, follow=True, selection=ALL)
    following = asyncio.create_task(anext(reading))
    await asyncio.sleep(0)
    assert not following.done()
    feeds.feed.add([Entry(4, "progress", 1, b"")])
    assert (await following).seq == 4
    feeds.feed.rewind(4)
    with pytest.raises(LogRewound):
        await anext(reading)


async def test_a_read_is_repeated_after_a_pause_while_the_database_is_away(monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    outcomes = iter([DatabaseUnavailable("away"), DatabaseUnavailable("away"), None])

    async def fetch():
        if error := next(outcomes):
            raise error
        return 7

    assert await Tail(None, None, retry_seconds=0.0).when_available(fetch) == 7
    assert len(pauses) == 2


async def test_the_state_of_the_task_is_read_at_terminal_events_only(monkeypatch):
    """A retry has undone the first end."""
    states = iter([LogState(6, ended=False, pruned=False), LogState(6, ended=True, pruned=False)])

    async def state(_db, _task_id):
        return next(states)

    monkeypatch.setattr(events, "state", state)
    log = [*LOG, Entry(5, "retried", None, b""), Entry(6, "succeeded", None, b"")]
    assert await read(log, OPEN, follow=True) == [1, 2, 3, 4, 5, 6]
    assert next(states, None) is None


def row(seq, type="output", *, job=0, stream="stdout"):
    return EventRow(1, seq, job, 1, type, stream if type == "output" else None, NOON, NOON, b"x", None)


async def read_pages(pages, *, cursor=0, end=9, selection=ALL):
    """Read a log that is not in the window, to its end; return the events and what was asked for."""
    feeds = FakeFeeds([Entry(seq, "output", 0, b"x", "stdout") for seq in range(1, end + 1)], window=0, pages=pages)
    tail = Tail(None, feeds, retry_seconds=1)
    reading = tail.read(1, cursor, LogState(end, ended=True, pruned=False), follow=False, selection=selection)
    return [entry.seq async for entry in reading], feeds.read


async def test_a_reader_behind_the_window_reads_page_by_page():
    pages = [EventPage([row(1), row(2), row(3)], 5, None), EventPage([row(4), row(5)], 5, None)]
    assert await read_pages(pages, end=5) == ([1, 2, 3, 4, 5], [(1, 0), (1, 3)])


async def test_a_reader_of_few_events_reads_those_alone():
    selection, wanted = Selection(job=1), EventFilter(1, ("stdout", "stderr"), True)
    pages = [
        SelectedPage([row(2, job=1)], 9, 4, kept=True),
        SelectedPage([row(7, job=1), row(8, job=0), row(9, job=1)], 9, 9, kept=True),
    ]
    assert await read_pages(pages, selection=selection) == ([2, 7, 9], [(1, 0, wanted), (1, 4, wanted)])


async def test_a_page_has_events_after_the_log_s_end_as_it_was():
    """A reader without ``follow`` leaves out what was stored after it began."""
    assert (await read_pages([EventPage([row(1), row(2), row(3)], 3, None)], end=2))[0] == [1, 2]


@pytest.mark.parametrize("selection", [Selection(), Selection(job=0)])
async def test_a_log_that_is_shorter_than_a_cursor_was_rewound(selection):
    short = [SelectedPage([], 2, 2, kept=True)] if selection.narrow else [EventPage([], 2, None)]
    with pytest.raises(LogRewound) as caught:
        await read_pages(short, cursor=3, selection=selection)
    assert caught.value.last_seq == 2


@pytest.mark.parametrize("selection", [Selection(), Selection(job=0)])
async def test_a_log_without_the_events_after_a_cursor_was_pruned(selection):
    gone = [SelectedPage([], 3, 3, kept=False)] if selection.narrow else [EventPage([], 3, None)]
    with pytest.raises(LogPruned, match="after 3 have been dropped"):
        await read_pages(gone, cursor=3, selection=selection)


@pytest.mark.parametrize(
    ("selection", "wanted", "narrow"),
    [
        (Selection(), EventFilter(None, ("stdout", "stderr"), True), False),
        (Selection(job=0), EventFilter(0, ("stdout", "stderr"), True), True),
        (Selection(output=False), EventFilter(None, (), True), True),
        (Selection(other=False), EventFilter(None, ("stdout", "stderr"), False), False),
        (Selection(stream="stdout"), EventFilter(None, ("stdout",), True), False),
        (Selection(stream="stderr"), EventFilter(None, ("stderr",), True), True),
    ],
)
def test_a_selection_is_looked_up_by_an_index_if_it_may_have_few_events(selection, wanted, narrow):
    assert selection.wanted == wanted
    assert selection.narrow is narrow


async def test_a_follower_of_a_removed_task_reads_no_further(monkeypatch):
    """The log ends there, whatever the feed has after that event."""

    async def state(_db, _task_id):
        return None

    monkeypatch.setattr(events, "state", state)
    log = [Entry(1, "succeeded", None, b"")]
    assert await read(log, LogState(1, ended=False, pruned=False), follow=True) == [1]
