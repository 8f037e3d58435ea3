"""The window of a feed: a viewer within it is served from memory, in order and in bounded pieces."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.log.encode import Entry
from app.log.feed import Feed, Feeds
from app.log.hub import Hub
from app.log.live import pack, unpack
from db import events
from db.errors import DatabaseUnavailable, LogRewound
from db.events import Batch, EventFilter, EventPage, NewEvent, StoredBatch
from db.model import EventRow


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


def row(seq, stored_at=NOON):
    return EventRow(1, seq, 0, 1, "output", "stdout", NOON, stored_at, b"x", None)


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


class Log:
    """A log that a poller reads, by pages of two events; ``failures`` are raised first."""

    def __init__(self, monkeypatch, last_seq=0):
        self.last_seq, self.failures, self.asked = last_seq, [], []
        monkeypatch.setattr(events, "page", self.page)
        monkeypatch.setattr(events, "selected_page", self.selected_page)

    async def page(self, _db, task_id, after, *, row_limit, byte_limit):
        self.asked.append((task_id, after))
        if self.failures:
            raise self.failures.pop()
        return EventPage([row(seq) for seq in range(after + 1, min(after + 2, self.last_seq) + 1)], self.last_seq, None)

    async def selected_page(self, _db, *values, row_limit, byte_limit):
        return values, row_limit, byte_limit


@pytest.fixture
async def feeds():
    hub = Hub()
    made = Feeds(None, hub, poll_seconds=3600, feed_bytes=10_000, page_bytes=500)
    made.hub = hub
    yield made
    await made.close()


@pytest.mark.timeout(10)
async def test_viewers_of_a_task_share_a_feed_until_the_last_one_has_gone(feeds, monkeypatch):
    Log(monkeypatch)
    async with feeds.watching(1, 0) as other:
        async with feeds.watching(2, 4) as first:
            async with feeds.watching(2, 9) as second:
                assert first is second
                assert first is not other
                assert (first.last_seq, first.viewers) == (4, 2)
            async with feeds.watching(2, 9) as third:
                assert third is first
        async with feeds.watching(2, 9) as later:
            assert later is not first
            assert later.last_seq == 9
    pollers = [task for task in asyncio.all_tasks() if task.get_name().startswith("feed ")]
    await asyncio.gather(*pollers, return_exceptions=True)
    assert all(poller.cancelled() for poller in pollers)


@pytest.mark.timeout(10)
async def test_a_poller_reads_to_the_end_of_the_log_and_again_at_each_hint(feeds, monkeypatch):
    log = Log(monkeypatch, last_seq=5)
    async with feeds.watching(1, 0) as feed:
        for cursor in range(5):
            await feed.changed(cursor, 0)
        assert log.asked == [(1, 0), (1, 2), (1, 4)]
        log.last_seq = 6
        await asyncio.sleep(0)
        feeds.hub.receive(["e:1:6"])
        await feed.changed(5, 0)
        assert [entry.seq for entry in feed.after(0)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("failure", "said"), [(DatabaseUnavailable("away"), "feed waits for the database"), (KeyError(), "feed failed")]
)
async def test_a_poller_goes_on_after_a_failure(feeds, monkeypatch, caplog, failure, said):
    log = Log(monkeypatch, last_seq=1)
    log.failures = [failure]
    async with feeds.watching(1, 0) as feed:
        while not caplog.messages:
            await asyncio.sleep(0)
        feeds.hub.receive(["e:1:1"])
        await feed.changed(0, 0)
    assert caplog.messages == [said]


@pytest.mark.timeout(10)
async def test_a_poller_that_finds_a_shorter_log_starts_again_at_its_end(feeds, monkeypatch):
    log = Log(monkeypatch, last_seq=2)
    async with feeds.watching(1, 4) as feed:
        with pytest.raises(LogRewound):
            await feed.changed(4, 0)
        assert feed.last_seq == 2
        log.last_seq = 3
        await asyncio.sleep(0)
        feeds.hub.receive(["e:1:3"])
        await feed.changed(2, 1)


def payload(first, last, task_id=1, stored_at=NOON):
    events_of_batch = [NewEvent("output", "stdout", NOON, b"x", None)] * (last + 1 - first)
    return pack(Batch(task_id, 0, 1, "w1", 1, events_of_batch), StoredBatch(first - 1, stored_at))


async def settled(log):
    """Let the poller do what it can do without another hint."""
    for _ in range(20):
        await asyncio.sleep(0)
    return log.asked


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


@pytest.mark.timeout(10)
async def test_events_that_came_before_a_page_are_read_from_the_log_and_later_ones_are_not(feeds, monkeypatch):
    log = Log(monkeypatch, last_seq=4)
    async with feeds.watching(1, 4) as feed:
        feeds.receive(payload(5, 5))
        assert await settled(log) == [(1, 4)]
        log.last_seq = 5
        feeds.hub.receive(["e:1:5"])
        assert await settled(log) == [(1, 4), (1, 4)]
        feeds.receive(payload(6, 6))
        feeds.hub.receive(["e:1:6"])
        assert await settled(log) == [(1, 4), (1, 4)]
        assert feed.last_seq == 6


@pytest.mark.timeout(10)
async def test_events_that_come_with_their_hint_are_not_read_from_the_log(feeds, monkeypatch):
    log = Log(monkeypatch, last_seq=1)
    async with feeds.watching(1, 0) as feed:
        assert await settled(log) == [(1, 0)]
        for first, last in ((2, 2), (3, 5)):
            feeds.receive(payload(first, last))
            feeds.receive(payload(1, 9, task_id=2))
            feeds.hub.receive([f"e:1:{last}"])
            await feed.changed(first - 1, 0)
        assert [entry.seq for entry in feed.after(0)] == [1, 2, 3, 4, 5]
        feeds.hub.receive(["e:1:4"])  # without its event, so it may be of a log that was rewound
        assert await settled(log) == [(1, 0), (1, 5)]


@pytest.mark.timeout(10)
async def test_events_that_do_not_follow_the_last_one_are_read_from_the_log(feeds, monkeypatch):
    log = Log(monkeypatch, last_seq=1)
    async with feeds.watching(1, 0) as feed:
        await settled(log)
        log.last_seq = 3
        feeds.receive(payload(3, 3))
        feeds.hub.receive(["e:1:3"])
        assert await settled(log) == [(1, 0), (1, 1)]
        feeds.receive(payload(2, 3))  # a page has brought both of them
        feeds.hub.receive(["e:1:3"])
        assert await settled(log) == [(1, 0), (1, 1)]
        log.last_seq = 5
        feeds.receive(payload(4, 4))
        feeds.hub.receive(["e:1:5"])  # the second one was too large for a notification
        assert await settled(log) == [(1, 0), (1, 1), (1, 4)]
        assert [entry.seq for entry in feed.after(0)] == [1, 2, 3, 4, 5]


@pytest.mark.timeout(10)
async def test_an_event_that_differs_from_the_known_one_of_its_number_makes_the_log_be_read(feeds, monkeypatch):
    """The log has lost events and has grown again past them before anybody looked."""
    log = Log(monkeypatch, last_seq=4)
    async with feeds.watching(1, 0) as feed:
        await feed.changed(3, 0)
        log.asked.clear()
        feeds.receive(payload(4, 4, stored_at=NOON + timedelta(seconds=1)))
        feeds.receive(payload(5, 5, stored_at=NOON + timedelta(seconds=1)))
        feeds.hub.receive(["e:1:5"])
        assert await settled(log) == [(1, 4)]
        assert feed.last_seq == 4


@pytest.mark.timeout(10)
@pytest.mark.parametrize("gap", [True, False], ids=["gap", "failed page"])
async def test_before_events_are_taken_from_notifications_the_log_is_known_to_be_the_same(feeds, monkeypatch, gap):
    """A server that took over may have lost events; its next one may fit the number of the last known one."""
    log = Log(monkeypatch, last_seq=4)
    async with feeds.watching(1, 4) as feed:
        await settled(log)
        log.last_seq = 3
        if gap:
            feeds.receive(payload(5, 5))
            feeds.hub.wake_all()
        else:
            log.failures = [DatabaseUnavailable("away")]
            feeds.hub.receive(["e:1:5"])
            await settled(log)
            feeds.receive(payload(5, 5))
            feeds.hub.receive(["e:1:5"])
        with pytest.raises(LogRewound):
            await feed.changed(4, 0)
        assert feed.last_seq == 3
        assert {cursor for _, cursor in log.asked} == {4}


@pytest.mark.timeout(30)
async def test_a_page_is_read_at_every_poll_interval_however_many_hints_come(feeds, monkeypatch):
    log = Log(monkeypatch, last_seq=0)
    feeds._poll_seconds = 0.02
    async with feeds.watching(1, 0):
        seq = 0
        while len(log.asked) < 4:
            seq += 1
            feeds.receive(payload(seq, seq))
            feeds.hub.receive([f"e:1:{seq}"])
            log.last_seq = seq
            await asyncio.sleep(0)


@pytest.mark.timeout(10)
async def test_events_that_wait_for_the_poller_are_bounded(feeds, monkeypatch):
    log = Log(monkeypatch, last_seq=0)
    async with feeds.watching(1, 0) as feed:
        await settled(log)
        for seq in range(1, 101):
            feeds.receive(payload(seq, seq))
        log.last_seq = 100
        feeds.hub.receive(["e:1:100"])
        await feed.changed(99, 0)
        assert log.asked[1] == (1, 64)


@pytest.mark.timeout(10)
async def test_a_page_of_selected_events_has_the_limits_of_any_page(feeds, monkeypatch):
    Log(monkeypatch)
    wanted = EventFilter(1, ("stdout",), False)
    assert await feeds.selected_page(1, 4, wanted) == ((1, 4, wanted), 500, 500)


@pytest.mark.timeout(10)
async def test_closing_ends_every_poller(feeds, monkeypatch):
    Log(monkeypatch)
    async with feeds.watching(1, 0), feeds.watching(2, 0):
        await feeds.close()
        pollers = [task for task in asyncio.all_tasks() if task.get_name().startswith("feed ")]
        assert pollers == []
