"""Events and queues of connections: as asyncio's, in a fraction of the memory."""

import asyncio

import pytest

from app.rpc.server.lazy_event import Inbox, LazyEvent


async def started(*coroutines):
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_an_event_wakes_all_that_wait_even_when_it_is_cleared_at_once():
    event = LazyEvent()
    waiters = await started(event.wait(), event.wait())
    assert not any(waiter.done() for waiter in waiters)
    event.set()
    event.clear()
    await asyncio.wait_for(asyncio.gather(*waiters), 60)
    [later] = await started(event.wait())
    assert not event.is_set()
    assert not later.done()
    event.set()
    await asyncio.wait_for(later, 60)
    await asyncio.wait_for(event.wait(), 60)
    assert event.is_set()


async def test_an_inbox_gives_its_items_in_order_and_waits_for_the_next():
    inbox = Inbox()
    inbox.put_nowait(1)
    inbox.put_nowait(2)
    assert not inbox.empty()
    assert [await inbox.get(), await inbox.get()] == [1, 2]
    assert inbox.empty()
    [reader] = await started(inbox.get())
    assert not reader.done()
    inbox.put_nowait(3)
    inbox.put_nowait(4)
    assert await asyncio.wait_for(reader, 60) == 3
    assert await inbox.get() == 4


async def test_a_cancelled_reader_loses_no_item():
    inbox = Inbox()
    [reader] = await started(inbox.get())
    inbox.put_nowait(1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await asyncio.wait_for(inbox.get(), 60) == 1
