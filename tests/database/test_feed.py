"""A feed under errors of the database."""

import asyncio

from support.records import batch, claim, create, register

from app.log.feed import Feeds
from app.log.hub import Hub
from app.log.tail import Selection, Tail
from db import events


async def test_a_feed_outlives_an_error_that_nobody_foresaw(db, monkeypatch):
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
        async with asyncio.timeout(10):
            while not failed:
                await asyncio.sleep(0.01)
            await events.append(db, [batch(task_id)], 30)
            assert (await first).seq == state.last_seq + 1
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await reading.aclose()
        await feeds.close()
