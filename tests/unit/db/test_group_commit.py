"""Group commit: who shares a flush, and whom an error reaches."""

import asyncio

import pytest

from db.errors import DatabaseRefused, DatabaseUnavailable
from db.group_commit import GroupCommit


class Store:
    """Records each flush and releases it on demand; refuses the ``poison``, and fails for more than ``most`` items."""

    def __init__(self, poison=(), most=100):
        self.flushes = []
        self.go = asyncio.Event()
        self._poison = set(poison)
        self._most = most

    async def __call__(self, items):
        self.flushes.append(list(items))
        await self.go.wait()
        if len(items) > self._most:
            raise DatabaseUnavailable("too much")
        if self._poison & set(items):
            raise DatabaseRefused("a value cannot be stored")
        return [item * 10 for item in items]

    async def began(self, count):
        async with asyncio.timeout(60):
            while len(self.flushes) < count:
                await asyncio.sleep(0)


async def test_items_that_arrive_during_a_flush_share_the_next_one():
    store = Store()
    group = GroupCommit(store, max_items=100, max_size=1000)
    first = group.submit(1)
    await store.began(1)
    rest = [group.submit(number) for number in (2, 3, 4)]
    store.go.set()
    assert [await one for one in (first, *rest)] == [10, 20, 30, 40]
    assert store.flushes == [[1], [2, 3, 4]]


async def test_a_flush_has_a_bound_of_items_and_of_bytes():
    store = Store()
    store.go.set()
    group = GroupCommit(store, max_items=2, max_size=1000)
    await asyncio.gather(*(group.submit(number) for number in (1, 2, 3)))
    heavy = GroupCommit(store, max_items=100, max_size=1000)
    await asyncio.gather(*(heavy.submit(number, size=600) for number in (4, 5, 6)))
    assert store.flushes == [[1, 2], [3], [4, 5], [6]]


async def test_items_with_a_common_name_are_in_different_flushes():
    store = Store()
    store.go.set()
    group = GroupCommit(store, max_items=100, max_size=1000)
    submitted = [(1, "row"), (2, "other"), (3, "more", "row"), (4, "last")]
    await asyncio.gather(*(group.submit(*arguments) for arguments in submitted))
    assert store.flushes == [[1, 2], [3, 4]]


async def test_a_refused_item_fails_only_its_caller():
    store = Store(poison=[2])
    store.go.set()
    group = GroupCommit(store, max_items=100, max_size=1000)
    found = await asyncio.gather(*(group.submit(number) for number in (1, 2, 3)), return_exceptions=True)
    assert [found[0], found[2]] == [10, 30]
    assert isinstance(found[1], DatabaseRefused)
    assert store.flushes == [[1, 2, 3], [1], [2], [3]]


async def test_every_caller_of_a_flush_gets_the_error_of_the_database():
    store = Store(most=1)
    store.go.set()
    group = GroupCommit(store, max_items=100, max_size=1000)
    found = await asyncio.gather(*(group.submit(number) for number in (1, 2)), return_exceptions=True)
    assert all(isinstance(error, DatabaseUnavailable) for error in found)
    assert store.flushes == [[1, 2]]


async def test_a_failed_flush_is_followed_by_small_growing_ones():
    store = Store(most=5)
    group = GroupCommit(store, max_items=100, max_size=1000)
    failed = [group.submit(number) for number in range(8)]
    await store.began(1)
    later = [group.submit(number) for number in range(10, 20)]
    store.go.set()
    assert await asyncio.gather(*later) == [number * 10 for number in range(10, 20)]
    assert [len(flush) for flush in store.flushes] == [8, 1, 2, 4, 3]
    assert all(isinstance(one.exception(), DatabaseUnavailable) for one in failed)


async def test_a_cancelled_caller_does_not_cancel_others():
    store = Store()
    group = GroupCommit(store, max_items=100, max_size=1000)
    gone, stays = group.submit(1), group.submit(2)
    await store.began(1)
    gone.cancel()
    store.go.set()
    assert await stays == 20
    assert await group.submit(3) == 30


async def test_closing_cancels_waiting_callers():
    store = Store()
    group = GroupCommit(store, max_items=100, max_size=1000)
    flying = group.submit(1)
    await store.began(1)
    queued = group.submit(2)
    await group.close()
    for waiting in (flying, queued):
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert store.flushes == [[1]]


async def test_every_caller_is_cancelled_if_the_driver_cancels_a_flush_that_was_refused_at_first():
    async def store(items):
        await asyncio.sleep(0)
        if len(items) > 1:
            raise DatabaseRefused("a value cannot be stored")
        raise asyncio.CancelledError

    group = GroupCommit(store, max_items=3, max_size=1000)
    waiting = [group.submit(number) for number in range(4)]
    done, _ = await asyncio.wait(waiting, timeout=60)
    assert all(one.cancelled() for one in done)
    assert len(done) == 4


async def test_a_store_that_returns_too_few_results_leaves_nobody_waiting():
    async def store(items):
        await asyncio.sleep(0)
        return items[:1]

    group = GroupCommit(store, max_items=3, max_size=1000)
    waiting = [group.submit(number) for number in range(4)]
    await asyncio.wait(waiting, timeout=60)
    assert [one.cancelled() for one in waiting] == [False, True, True, True]
    assert await group.submit(5) == 5
