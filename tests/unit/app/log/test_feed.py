"""The window of a feed: a viewer within it is served from memory, in order and in bounded pieces."""

import asyncio
from datetime import timedelta

import pytest
from support.feeds import NOON, payload, row

from app.log.encode import Entry
from app.log.feed import Feed
from app.log.live import unpack
from db.errors import LogRewound
from db.events import EventPage


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
    assert feed.after(10) == []


@pytest.mark.parametrize(("limit", "kept"), [(29, 2), (30, 3), (39, 3), (9, 0), (0, 0), (1000, 10)])
def test_the_window_has_as_many_of_the_newest_events_as_fit(limit, kept):
    feed = Feed(1, 0, byte_limit=limit)
    for seq in range(1, 11):
        feed.add(entries(seq, seq))
    assert [entry.seq for entry in feed.after(10 - kept)] == list(range(11 - kept, 11))
    assert feed.after(9 - kept) is None


def test_nothing_new_changes_nothing():
    feed = Feed(1, 4, byte_limit=1000)
    feed.add([])
    assert feed.last_seq == 4


def test_a_viewer_gets_at_most_one_piece_at_a_time():
    """Whoever stops reading keeps alive what it was handed."""
    feed = Feed(1, 0, byte_limit=10_000_000)
    feed.add(entries(1, 50, size=100_000))
    cursor, pieces = 0, []
    while piece := feed.after(cursor):
        pieces.append(len(piece))
        cursor = piece[-1].seq
    assert cursor == 50
    assert pieces == [3] * 16 + [2]


def test_a_piece_ends_with_the_event_that_makes_it_large_enough():
    feed = Feed(1, 0, byte_limit=10_000_000)
    feed.add([Entry(1, "output", 0, b"x" * 256 * 1024), *entries(2, 9)])
    assert len(feed.after(0)) == 1
    feed.add([Entry(10, "output", 0, b"x" * (256 * 1024 - 1)), *entries(11, 19)])
    assert [entry.seq for entry in feed.after(9)] == [10, 11]
    feed.add([Entry(20, "output", 0, b"x" * (256 * 1024 + 1)), *entries(21, 29)])
    assert [entry.seq for entry in feed.after(19)] == [20]


def test_a_feed_accepts_only_the_events_that_follow_its_last_one():
    feed = Feed(1, 4, byte_limit=1000)
    for first in (4, 6):
        with pytest.raises(AssertionError, match="gap in the log of task 1 after 4"):
            feed.add(entries(first, 9))
    assert (feed.last_seq, feed.after(4)) == (4, [])


def page(last_seq, cursor_at):
    return EventPage([], last_seq, cursor_at)


def test_a_rewound_log_is_recognised_by_its_end_or_the_event_at_the_cursor():
    feed = Feed(1, 4, byte_limit=1000)
    assert feed.fits(page(4, NOON))
    assert feed.fits(page(4, NOON))
    assert feed.fits(page(4, None))  # that event has been pruned
    assert not feed.fits(page(3, None))
    feed = Feed(1, 4, byte_limit=1000)
    assert feed.fits(page(4, NOON))
    assert not feed.fits(page(9, NOON + timedelta(milliseconds=1)))


def test_the_newest_event_of_a_page_is_what_the_next_page_is_compared_with():
    feed = Feed(1, 0, byte_limit=1000)
    times = [NOON + timedelta(seconds=number) for number in range(3)]
    read = [row(seq, stored_at) for seq, stored_at in enumerate(times, 1)]
    assert feed.fits(EventPage(read, 3, None))
    feed.add(entries(1, 3))
    assert feed.fits(page(3, times[2]))
    assert not feed.fits(page(3, times[1]))


def test_a_feed_that_started_again_compares_with_no_earlier_event():
    feed = Feed(1, 4, byte_limit=1000)
    assert feed.fits(page(4, NOON))
    feed.rewind(4)
    assert feed.fits(page(4, NOON + timedelta(seconds=1)))


async def test_a_rewind_reaches_every_viewer_and_restarts_the_feed_at_the_end_of_the_log():
    feed = Feed(1, 4, byte_limit=30)
    feed.add(entries(5, 7))
    feed.add(entries(8, 9))
    waiting = asyncio.create_task(feed.changed(9, feed.rewinds))
    await asyncio.sleep(0)
    feed.rewind(6)
    with pytest.raises(LogRewound) as caught:
        await waiting
    assert caught.value.last_seq == 6
    with pytest.raises(LogRewound):
        await feed.changed(2, 0)
    feed.add(entries(7, 9))
    await feed.changed(6, feed.rewinds)
    assert [entry.seq for entry in feed.after(6)] == [7, 8, 9]
    assert feed.rewinds == 1


def test_a_feed_that_started_again_has_an_empty_window():
    feed = Feed(1, 4, byte_limit=30)
    feed.add(entries(5, 7))
    feed.rewind(4)
    feed.add([*entries(5, 6), *entries(7, 7, size=11)])
    assert feed.after(4) is None
    assert [entry.seq for entry in feed.after(5)] == [6, 7]


async def test_a_viewer_waits_for_an_event_after_its_cursor():
    feed = Feed(1, 4, byte_limit=1000)
    await feed.changed(3, 0)
    waiting = asyncio.create_task(feed.changed(4, 0))
    ahead = asyncio.create_task(feed.changed(5, 0))
    await asyncio.sleep(0)
    assert not waiting.done()
    feed.add(entries(5, 5))
    await waiting
    await asyncio.sleep(0)
    assert not ahead.done()
    feed.add(entries(6, 6))
    await ahead


LATER = NOON + timedelta(seconds=1)


def live_feed():
    """Return a feed at event 4, which was stored at noon, to which event 5 came with a notification."""
    feed = Feed(1, 4, byte_limit=1000)
    assert feed.fits(page(4, NOON))
    feed.receive(unpack(payload(5, 5, stored_at=LATER)))
    return feed


def test_events_of_a_notification_are_added_once_and_compared_with_the_next_page():
    feed = live_feed()
    assert feed.add_live() == {5}
    assert feed.add_live() == set()
    assert feed.fits(page(5, LATER))
    assert not feed.fits(page(5, NOON))


@pytest.mark.parametrize("change", [Feed.drop_live, lambda feed: feed.rewind(4)])
def test_events_of_notifications_before_a_page_or_a_rewind_are_not_added(change):
    feed = live_feed()
    change(feed)
    assert feed.add_live() == set()
    assert feed.last_seq == 4
