"""Reading a log through a feed: from any cursor, past the window, past an end, and under errors of the database."""

import asyncio

from support.records import append, batch, claim, closed, create, finish, register

from app.log.appender import Appender
from app.log.encode import encode_all
from app.log.feed import Feeds
from app.log.hub import Hub
from app.log.live import pack
from app.log.tail import Selection, Tail
from db import events, tasks
from db.listener import Listener


async def read(db, feeds, task_id, cursor, seen):
    """Read a log to its end."""
    state = await events.state(db, task_id)
    tail = Tail(db, feeds, retry_seconds=0.05)
    async for entry in tail.read(task_id, cursor, state, follow=True, selection=Selection()):
        seen.append(entry.seq)


async def test_readers_see_each_event_after_their_cursors_once_within_the_window_and_behind_it(db):
    """One behind the window, one within it, one at the end, and one that comes later."""
    task_id = await create(db)
    await register(db)
    await claim(db)
    await append(db, [batch(task_id, events=18)], 30)
    feeds = Feeds(db, Hub(), poll_seconds=0.05, feed_bytes=1500, page_bytes=1000)
    reading = []

    def begin(cursor):
        seen = []
        reading.append((cursor, seen, asyncio.create_task(read(db, feeds, task_id, cursor, seen))))
        return seen

    try:
        async with asyncio.timeout(60):
            at_the_end = begin(20)
            begin(0)
            for number in range(2, 6):
                await append(db, [batch(task_id, number, events=9)], 30)
                while not at_the_end or at_the_end[-1] < 2 + 9 * number:
                    await asyncio.sleep(0.005)
                begin(at_the_end[-1] - 3)
                begin(at_the_end[-1])
            await closed(db, finish(task_id))
            await tasks.settle(db, task_id)
            await asyncio.gather(*(task for _, _, task in reading))
    finally:
        for _, _, task in reading:
            task.cancel()
        await asyncio.gather(*(task for _, _, task in reading), return_exceptions=True)
        await feeds.close()
    assert [seen for _, seen, _ in reading] == [list(range(cursor + 1, 59)) for cursor, _, _ in reading]


async def test_a_reader_continues_after_a_retry_of_an_ended_task(db):
    task_id = await create(db)
    await register(db)
    for attempt, outcome in ((1, "failed"), (2, "succeeded")):
        await claim(db)
        await closed(db, finish(task_id, outcome, attempt=attempt))
        await tasks.settle(db, task_id)
        if outcome == "failed":
            await tasks.retry(db, task_id)
    feeds = Feeds(db, Hub(), poll_seconds=0.05, feed_bytes=1 << 20, page_bytes=1)  # so the first end ends a page
    seen = []
    async with asyncio.timeout(60):
        await read(db, feeds, task_id, 0, seen)
    assert seen == list(range(1, 9))  # created started finished failed retried started finished succeeded
    await feeds.close()


async def test_a_feed_survives_an_unexpected_error(db, monkeypatch):
    task_id = await create(db)
    await register(db)
    await claim(db)
    real, failed = events.page, []

    async def fails_once(*arguments, **options):
        if not failed:
            failed.append(1)
            raise RuntimeError("unforeseen")
        return await real(*arguments, **options)

    monkeypatch.setattr(events, "page", fails_once)
    feeds = Feeds(db, Hub(), poll_seconds=0.05, feed_bytes=1 << 20, page_bytes=1 << 20)
    state = await events.state(db, task_id)
    reading = Tail(db, feeds, retry_seconds=0.05).read(
        task_id, state.last_seq, state, follow=True, selection=Selection()
    )
    first = asyncio.ensure_future(anext(reading))
    try:
        async with asyncio.timeout(60):
            while not failed:
                await asyncio.sleep(0.01)
            await append(db, [batch(task_id)], 30)
            assert (await first).seq == state.last_seq + 1
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await reading.aclose()
        await feeds.close()


async def test_events_that_are_stored_alone_arrive_without_a_look_at_the_log_and_are_those_of_the_log(
    db, dsn, monkeypatch
):
    pages = []
    read_page = events.page

    async def page(*arguments, **limits):
        pages.append(arguments[2])
        return await read_page(*arguments, **limits)

    monkeypatch.setattr(events, "page", page)
    hub = Hub()
    feeds = Feeds(db, hub, poll_seconds=3600, feed_bytes=1 << 20, page_bytes=1 << 20)
    listener = Listener(dsn, hub.receive, hub.wake_all, feeds.receive)
    listening = asyncio.create_task(listener.run())
    appender = Appender(db, lanes=1, lease_seconds=30, byte_limit=1 << 20, output_limit=1 << 30)
    task_id = await create(db)
    await register(db)
    await claim(db)

    def written(number):
        return batch(task_id, number, events=number, data=bytes(range(256))[number:])

    try:
        async with asyncio.timeout(60):
            while not listener.connected:
                await asyncio.sleep(0.005)
            async with feeds.watching(task_id, 0) as feed:
                await feed.changed(1, 0)
                for number in range(1, 30):
                    assert await appender.append(written(number))
                    while feed.last_seq < 2 + number * (number + 1) // 2:
                        await asyncio.sleep(0.001)
                seen = feed.after(2)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await feeds.close()
        await appender.close()
    too_large = [2 + number * (number - 1) // 2 for number in range(1, 30) if pack(written(number)) is None]
    assert 5 < len(too_large) < 25
    read = [cursor for cursor in pages if cursor > 2]
    assert set(too_large) <= set(read)
    assert len(read) <= len(too_large) + 1  # a page for the hint of the claim, which later events may overtake
    stored = await read_page(db, task_id, 2, row_limit=1000, byte_limit=1 << 30)
    assert seen == encode_all(stored.events)
