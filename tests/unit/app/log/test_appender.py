"""What an appender holds and hands on is bounded: by the bytes that wait, and by the bytes of one flush."""

import asyncio

from support.records import batch

from app.log import appender as appending
from app.log.appender import Appender
from db import events


async def flushes_of(monkeypatch, *, flush_bytes, byte_limit, count):
    """Append batches of 700 bytes to tasks 0, 1, … at once; return the tasks of each flush."""
    flushes, gate = [], asyncio.Event()

    async def store_all(_db, batches, *_, **__):
        flushes.append([item.task_id for item in batches])
        await gate.wait()
        return [True] * len(batches)

    async def store(db, given, *_, **__):
        return (await store_all(db, [given]))[0]

    monkeypatch.setattr(events, "append", store)
    monkeypatch.setattr(events, "append_all", store_all)
    monkeypatch.setattr(appending, "_FLUSH_BYTES", flush_bytes)
    appender = Appender(None, lanes=1, lease_seconds=30, byte_limit=byte_limit, output_limit=1 << 30)
    waiting = [asyncio.create_task(appender.append(batch(task, data=b"x" * 600))) for task in range(count)]
    while not flushes:
        await asyncio.sleep(0)
    gate.set()
    async with asyncio.timeout(60):
        assert await asyncio.gather(*waiting) == [True] * count
    return flushes


async def test_an_append_waits_while_the_buffer_is_full(monkeypatch):
    """One alone may be larger than the bound."""
    for limit, expected in ((2000, [[0, 1], [2]]), (1000, [[0], [1], [2]]), (10, [[0], [1], [2]])):
        assert await flushes_of(monkeypatch, flush_bytes=1 << 20, byte_limit=limit, count=3) == expected


async def test_a_flush_is_full_once_it_passes_its_bytes(monkeypatch):
    assert await flushes_of(monkeypatch, flush_bytes=1000, byte_limit=1 << 20, count=4) == [[0, 1], [2, 3]]


async def test_only_a_small_batch_that_is_stored_alone_is_sent_to_the_viewers(monkeypatch):
    sent = []
    kept = asyncio.Event()

    async def store(_db, given, *_, live, **__):
        await kept.wait()
        sent.append((given.task_id, live is not None))
        return given.task_id != 9

    async def store_all(_db, batches, *_, **__):
        sent.append([item.task_id for item in batches])
        return [True] * len(batches)

    monkeypatch.setattr(events, "append", store)
    monkeypatch.setattr(events, "append_all", store_all)
    appender = Appender(None, lanes=1, lease_seconds=30, byte_limit=1 << 20, output_limit=1 << 30)
    first = asyncio.create_task(appender.append(batch(1)))
    await asyncio.sleep(0)  # the first one is a flush of its own; the next two share one
    others = [asyncio.create_task(appender.append(batch(task))) for task in (2, 3)]
    await asyncio.sleep(0)
    kept.set()
    assert await asyncio.gather(first, *others) == [True, True, True]
    assert await appender.append(batch(4, data=b"x" * 8000)) is True
    assert await appender.append(batch(9, data=b"x" * 7000)) is False
    assert sent == [(1, True), [2, 3], (4, False), (9, True)]
