"""Tasks that wait or are waited for, and are cancelled, retried, paused, resumed or removed."""

import pytest
from support.dependencies import CANCELLED, QUEUED, WAITS, end, is_told, run, states
from support.records import claim, closed, create, finish

from db import dependencies, tasks


async def test_a_task_that_waits_is_cancelled_and_retried_without_starting(db):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,))
    await tasks.cancel(db, waiting, None)
    assert await states(db, waiting) == ("cancelled", {("cancelled", "cancelled")})
    assert await tasks.retry(db, waiting)
    assert await states(db, waiting) == WAITS
    await end(db, first)
    assert await states(db, waiting) == QUEUED


async def test_a_cancelled_task_is_retried_once_the_one_before_it_is(db):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,))
    await end(db, first, "failed")
    assert not await tasks.retry(db, waiting)
    assert await dependencies.failed(db, waiting) == [(first, "failed")]
    assert await tasks.retry(db, first)
    assert await tasks.retry(db, waiting)
    assert await states(db, waiting) == WAITS
    await run(db, first)
    await end(db, first, attempt=2)
    assert await states(db, waiting) == QUEUED


async def test_a_cancelled_task_is_retried_at_once_when_the_one_before_it_has_succeeded_since(db):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,))
    await end(db, first, "failed")
    await tasks.retry(db, first)
    await run(db, first)
    await end(db, first, attempt=2)
    assert await states(db, waiting) == CANCELLED
    assert await tasks.retry(db, waiting)
    assert await states(db, waiting) == QUEUED


async def test_what_has_started_is_not_held_again_when_the_one_before_it_goes_on(db):
    first = await create(db)
    await claim(db)
    after = await create(db, predecessors=(first,), any_end=True)
    await end(db, first, "failed")
    await tasks.retry(db, first)
    await run(db, after)
    await end(db, after, "failed")
    assert await tasks.retry(db, after)
    assert await states(db, after) == QUEUED


async def test_a_task_that_is_retried_before_its_end_is_told_is_waited_for_again(db):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,))
    await closed(db, finish(first, "failed"))
    await db.many("settle_tasks", task_ids=[first])
    await tasks.retry(db, first)
    await dependencies.start_waiting(db)
    assert await states(db, waiting) == WAITS
    await run(db, first)
    await end(db, first, attempt=2)
    assert await states(db, waiting) == QUEUED


async def test_a_task_that_is_paused_is_waited_for(db):
    first = await create(db)
    waiting = await create(db, predecessors=(first,))
    await tasks.pause(db, first, None)
    assert await states(db, waiting) == WAITS
    await tasks.cancel(db, first, None)
    assert await states(db, waiting) == CANCELLED


async def test_a_pause_of_a_task_that_waits_outlasts_what_it_waits_for(db):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,), start_within_seconds=60.0)
    await tasks.pause(db, waiting, None)
    assert await states(db, waiting) == ("paused", {("paused", "waits_for_task")})
    await end(db, first)
    assert await states(db, waiting) == ("paused", {("paused", "paused")})
    assert await tasks.resume(db, waiting)
    assert await states(db, waiting) == QUEUED
    assert (await tasks.get(db, waiting)).start_by is not None


async def test_a_resume_does_not_start_a_task_that_waits(db):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,), start_within_seconds=60.0)
    assert not await tasks.resume(db, waiting)
    await tasks.pause(db, waiting, None)
    assert await tasks.resume(db, waiting)
    assert await states(db, waiting) == WAITS
    assert (await tasks.get(db, waiting)).start_by is None
    await end(db, first)
    assert await states(db, waiting) == QUEUED


@pytest.mark.parametrize("is_told_first", [True, False])
async def test_a_task_can_be_removed_when_what_waited_for_it_has_been_told(db, is_told_first):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,))
    await closed(db, finish(first))
    await db.many("settle_tasks", task_ids=[first])
    if is_told_first:
        await dependencies.start_waiting(db)
    assert await tasks.remove(db, first) == "succeeded"
    assert await states(db, waiting) == QUEUED
    assert (await tasks.get(db, waiting)).after == [f"task-{first}"]


async def test_a_retry_after_a_removed_task_that_failed_is_refused(db):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,))
    await end(db, first, "failed")
    await tasks.remove(db, first)
    assert not await tasks.retry(db, waiting)
    assert await dependencies.failed(db, waiting) == [(first, None)]


async def test_a_task_that_waited_can_be_removed(db):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,))
    await tasks.cancel(db, waiting, None)
    assert await tasks.remove(db, waiting) == "cancelled"
    await end(db, first)
    assert await is_told(db)
