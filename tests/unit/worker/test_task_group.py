"""A task that fails is noticed while the others go on."""

import asyncio

import pytest

from worker.task_group import all_or_failure, first_or_failure


async def ends(value=None, *, after=0):
    for _ in range(after):
        await asyncio.sleep(0)
    return value


async def fails(*, after=0):
    await ends(after=after)
    raise ValueError("broken")


async def never():
    await asyncio.Event().wait()


@pytest.fixture
async def make():
    """Makes tasks that end with the test."""
    made = []

    def start(work):
        made.append(asyncio.create_task(work))
        return made[-1]

    yield start
    for task in made:
        task.cancel()
    await asyncio.gather(*made, return_exceptions=True)


async def test_the_first_one_is_returned_while_others_go_on_or_have_ended(make):
    assert await first_or_failure(make(ends(5, after=5)), [make(never()), make(ends())]) == 5


async def test_a_failure_is_raised_although_the_first_one_goes_on(make):
    with pytest.raises(ValueError, match="broken"):
        await first_or_failure(make(never()), [make(never()), make(fails(after=3))])


async def test_the_first_ones_own_failure_is_raised(make):
    with pytest.raises(ValueError, match="broken"):
        await first_or_failure(make(fails()), [make(never())])


async def test_all_are_waited_for(make):
    slow = make(ends(after=20))
    await all_or_failure([make(ends()), slow])
    assert slow.done()


async def test_one_failure_is_not_kept_waiting_for_the_rest(make):
    with pytest.raises(ValueError, match="broken"):
        await all_or_failure([make(never()), make(fails())])
