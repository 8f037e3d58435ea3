"""The first failure of a group ends all of it, and is raised as it is."""

import asyncio

import pytest

from worker.task_group import task_group


async def fails(error, *, after=0):
    for _ in range(after):
        await asyncio.sleep(0)
    raise error


async def never():
    await asyncio.Event().wait()


async def test_a_block_waits_for_its_tasks():
    ended = []

    async def work():
        await asyncio.sleep(0)
        ended.append(True)

    async with task_group() as group:
        group.create_task(work())
    assert ended == [True]


async def test_a_failed_task_ends_the_block_and_the_others_with_its_own_error():
    others = []

    async def block():
        async with task_group() as group:
            others.append(group.create_task(never()))
            group.create_task(fails(ValueError("broken"), after=3))
            await never()

    with pytest.raises(ValueError, match="broken"):
        await block()
    assert others[0].cancelled()


async def test_an_error_of_the_block_cancels_the_tasks_and_is_raised_as_it_is():
    others = []

    async def block():
        async with task_group() as group:
            others.append(group.create_task(never()))
            await fails(KeyError("gone"))

    with pytest.raises(KeyError):
        await block()
    assert others[0].cancelled()


async def test_a_cancelled_caller_stays_cancelled_when_its_tasks_raise():
    async def fails_when_cancelled():
        try:
            await never()
        finally:
            raise ValueError("broken")

    async def caller():
        async with task_group() as group:
            group.create_task(fails_when_cancelled())
            await never()

    task = asyncio.create_task(caller())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
