"""The window of a feed: a viewer within it is served from memory, in order and in bounded pieces."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.log.encode import Entry
from app.log.feed import Feed
from db.errors import LogRewound
from db.events import Page


def entries(first, last, size=10):
    return [Entry(seq, "output", 0, b"x" * size) for seq in range(first, last + 1)]


def test_a_viewer_gets_what_follows_its_cursor():
    feed = Feed(1, 4, byte_limit=1000)
    feed.add(entries(5, 9))
    assert [entry.seq for entry in feed.after(6)] == [7, 8, 9]
    assert feed.after(9) == []


def test_a_viewer_behind_the_window_reads_the_log():
    feed = Feed(1, 0, byte_limit=30)
    feed.add(entries(1, 10))
    assert [entry.seq for entry in feed.after(7)] == [8, 9, 10]
    assert feed.after(6) is None


def test_a_viewer_gets_at_most_one_piece_at_a_time():
    """Whoever stops reading keeps alive what it was handed."""
    feed = Feed(1, 0, byte_limit=10_000_000)
    feed.add(entries(1, 50, size=100_000))
    cursor, pieces = 0, []
    while piece := feed.after(cursor):
        pieces.append(len(piece))
        cursor = piece[-1].seq
    assert cursor == 50
    assert max(pieces) == 3


def test_a_feed_accepts_only_the_events_that_follow_its_last_one():
    feed = Feed(1, 4, byte_limit=1000)
    for first in (4, 6):
        with pytest.raises(AssertionError, match="gap in the log of task 1 after 4"):
            feed.add(entries(first, 9))
    assert (feed.last_seq, feed.after(4)) == (4, [])


def page(last_seq, cursor_at):
    return Page([], last_seq, cursor_at)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_rewound_log_is_recognised_by_its_end_or_the_event_at_the_cursor():
    feed = Feed(1, 4, byte_limit=1000)
    assert feed.fits(page(4, NOON))
    assert feed.fits(page(4, NOON))
    assert feed.fits(page(4, None))  # that event has been pruned
    assert not feed.fits(page(3, None))
    feed = Feed(1, 4, byte_limit=1000)
    assert feed.fits(page(4, NOON))
    assert not feed.fits(page(9, NOON + timedelta(milliseconds=1)))


async def test_a_rewind_reaches_every_viewer_and_restarts_the_feed_at_the_end_of_the_log():
    feed = Feed(1, 4, byte_limit=1000)
    feed.add(entries(5, 9))
    waiting = asyncio.create_task(feed.changed(9, feed.rewinds))
    await asyncio.sleep(0)
    feed.rewind(6)
    with pytest.raises(LogRewound) as caught:
        await waiting
    assert caught.value.last_seq == 6
    with pytest.raises(LogRewound):
        await feed.changed(2, 0)
    feed.add(entries(7, 8))
    await feed.changed(6, feed.rewinds)
    assert [entry.seq for entry in feed.after(6)] == [7, 8]
