"""The limit of a task's keys holds for writers at the same time."""

import asyncio

from support.records import create

from db import tasks

LIMIT = 10


def write(db, task_id, key, version=None):
    return tasks.set_value(db, task_id, key, 1, version=version, key_limit=LIMIT)


async def test_sixty_concurrent_writers_of_new_keys_stay_within_the_limit(db):
    task_id = await create(db)
    written = await asyncio.gather(*(write(db, task_id, f"k{number}") for number in range(60)))
    assert sum(value is not None for value in written) == LIMIT
    assert len(await tasks.list_values(db, task_id, "")) == LIMIT


async def test_concurrent_writers_of_one_new_key_use_one_place(db):
    task_id = await create(db)
    written = await asyncio.gather(*(write(db, task_id, "k") for _ in range(30)))
    assert sorted(value.version for value in written) == list(range(1, 31))


async def test_one_of_several_compare_and_set_calls_for_a_new_key_wins(db):
    task_id = await create(db)
    written = await asyncio.gather(*(write(db, task_id, "leader", version=0) for _ in range(30)))
    assert [value.version for value in written if value] == [1]


async def test_at_the_limit_known_keys_are_still_written(db):
    task_id = await create(db)
    for number in range(LIMIT):
        assert await write(db, task_id, f"k{number}")
    assert await write(db, task_id, "more") is None
    assert (await write(db, task_id, "k0")).version == 2
    assert (await write(db, task_id, "k0", version=2)).version == 3
    assert await write(db, task_id, "k0", version=1) is None


async def test_nothing_is_written_for_a_task_that_is_gone(db):
    task_id = await create(db)
    await tasks.cancel(db, task_id, None)
    await tasks.remove(db, task_id)
    assert await write(db, task_id, "k") is None


async def test_sixty_concurrent_writers_stay_within_the_limit_of_bytes(db):
    task_id = await create(db)
    zeros = "0" * 998  # a thousand bytes with its quotes, which would compress to almost nothing

    def put(key, value=zeros, **version):
        wish = {"version": None, "key_limit": 1000, "byte_limit": 10_000, **version}
        return tasks.set_value(db, task_id, key, value, **wish)

    written = await asyncio.gather(*(put(f"k{number:02}") for number in range(60)))
    assert sum(value is not None for value in written) == 9
    [first, *_] = await tasks.list_values(db, task_id, "")
    assert (await put(first.key)).version == 2  # in its own place it fits again
    assert await put(first.key, zeros * 3) is None
    assert (await put(first.key, "")).version == 3
    assert await tasks.count_values(db, task_id) == 9
