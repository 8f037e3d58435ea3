"""The pollers of feeds: which viewers share one, and what it reads of the log and of notifications."""

import asyncio
from datetime import timedelta

import pytest
from support.feeds import NOON, payload, row

from app.log.feed import Feeds
from app.log.hub import Hub
from db import events
from db.errors import DatabaseUnavailable, LogRewound
from db.events import EventFilter, EventPage


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


async def settled(log):
    """Let the poller do what it can do without another hint."""
    for _ in range(20):
        await asyncio.sleep(0)
    return log.asked


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
