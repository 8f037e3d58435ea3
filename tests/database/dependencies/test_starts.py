"""Tasks that start after others: what they wait for, what starts them, and what ends them."""

import json

import asyncpg
import pytest
from support.dependencies import CANCELLED, QUEUED, WAITS, create_many, end, is_told, log, states
from support.records import claim, create, finish, new_task

from app.loops import monitor
from app.settings import AppSettings
from db import dependencies, jobs, tasks


async def test_a_task_starts_when_each_of_those_before_it_has_succeeded(db):
    first, second = [await create(db) for _ in range(2)]
    await claim(db)
    waiting = await create(db, predecessors=(first, second), workers=3, start_within_seconds=60.0)
    assert await states(db, waiting) == WAITS
    assert (await tasks.get(db, waiting)).start_by is None
    assert await claim(db) == []
    assert await jobs.ready_demands(db) == []
    await end(db, first)
    assert await states(db, waiting) == WAITS
    assert (await tasks.get(db, waiting)).waits_for == [f"task-{second}"]
    await end(db, second)
    assert await states(db, waiting) == QUEUED
    task = await tasks.get(db, waiting)
    assert (task.after, task.waits_for) == ([f"task-{first}", f"task-{second}"], None)
    assert task.start_by > task.created_at
    assert len(await claim(db)) == 3


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
async def test_a_task_that_does_not_succeed_cancels_what_waits_for_it_and_what_waits_for_that(db, outcome):
    first, other = [await create(db) for _ in range(2)]
    await claim(db)
    second = await create(db, predecessors=(first, other), workers=2)
    third = await create(db, predecessors=(second,))
    anyway = await create(db, predecessors=(third,), any_end=True)
    await end(db, first, outcome)
    assert [await states(db, task_id) for task_id in (second, third, anyway)] == [CANCELLED, CANCELLED, QUEUED]
    how = {"failed": "failed", "cancelled": "was cancelled"}[outcome]
    why = f"task-{first}, after which it was to start, {how}"
    told = {"outcome": "cancelled", "reason": "predecessor_failed", "message": why}
    assert (await log(db, second))[1:] == [
        (2, "finished", told), (3, "finished", told),
        (4, "cancelled", {"reason": "predecessor_failed", "message": why}),
    ]  # fmt: skip
    assert (await tasks.get(db, third)).message == f"task-{second}, after which it was to start, was cancelled"
    await end(db, other)
    assert await states(db, second) == CANCELLED


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
async def test_a_task_that_waits_for_any_end_starts_after_it(db, outcome):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,), any_end=True)
    assert await states(db, waiting) == WAITS
    await end(db, first, outcome)
    assert await states(db, waiting) == QUEUED


@pytest.mark.parametrize(
    ("outcome", "any_end", "is_created"),
    [("succeeded", False, True), ("failed", False, False), ("cancelled", False, False), ("failed", True, True)],
)
async def test_a_task_that_has_ended_counts_at_once(db, outcome, any_end, is_created):
    first = await create(db)
    await claim(db)
    await end(db, first, outcome)
    after = await create(db, predecessors=(first,), any_end=any_end, start_within_seconds=60.0)
    if not is_created:
        assert after is None
        assert await dependencies.unusable(db, [first, first + 1]) == [(first, outcome), (first + 1, None)]
        return
    assert await states(db, after) == QUEUED
    assert (await tasks.get(db, after)).start_by is not None


async def test_nothing_is_created_after_an_unknown_task_and_others_of_the_same_commit_are(db):
    known = await create(db)
    wishes = [new_task(predecessors=(known, 10**6)), new_task(predecessors=(known,)), new_task()]
    assert [task is not None for task in await tasks.create_all(db, wishes)] == [False, True, True]


async def test_a_task_may_wait_for_a_thousand(db):
    before = await create_many(db, 1000)
    await claim(db, limit=1000)
    waiting = await create(db, predecessors=tuple(before))
    for position in range(0, 1000, 200):
        assert await states(db, waiting) == WAITS
        named = before[position : position + 200]
        await jobs.finish_all(db, [finish(task_id) for task_id in named])
        await tasks.settle_all(db, named)
    assert await states(db, waiting) == QUEUED
    assert await is_told(db)


@pytest.mark.parametrize(("outcome", "expected"), [("succeeded", QUEUED), ("failed", CANCELLED)])
async def test_a_thousand_tasks_may_wait_for_one(db, outcome, expected):
    first = await create(db)
    await claim(db)
    waiting = await create_many(db, 1000, predecessors=(first,), workers=2)
    await end(db, first, outcome)
    assert await states(db, waiting[0]) == expected
    await dependencies.start_waiting(db, rounds=100)  # as a monitor does
    assert [await states(db, task_id) for task_id in (waiting[499], waiting[-1])] == [expected] * 2
    assert await is_told(db)


async def test_a_long_chain_is_cancelled_by_the_monitor(db, dsn):
    last = first = await create(db)
    await claim(db)
    for _ in range(12):
        last = await create(db, predecessors=(last,))
    await end(db, first, "failed")
    assert await states(db, last) == WAITS  # the answer to the worker's report does not wait for so many
    await monitor.step(db, AppSettings(dsn=dsn))
    assert await states(db, last) == CANCELLED


async def test_a_wait_is_no_time_in_which_a_task_must_start(db):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,), start_within_seconds=1e-6)
    assert await jobs.fail_unstarted(db) == []
    await end(db, first)
    assert [failed.task_id for failed in await jobs.fail_unstarted(db)] == [waiting]


async def test_it_is_said_what_a_task_waits_for(db):
    before = await create_many(db, 12)
    waiting = await create(db, predecessors=tuple(before))
    shown = ", ".join(f"task-{task_id}" for task_id in before[:10])
    words = f"wait until {shown} and 2 others have succeeded"
    (obstacle,) = await tasks.obstacles(db, waiting)
    assert (obstacle.worker_id, obstacle.unmet, obstacle.help) == (None, "waits_for_task", words)
    rows = await db._pool.fetch("select job_id, unmet, help from ado.why_pending where task_id = $1", waiting)
    assert [tuple(row) for row in rows] == [(f"task-{waiting}/0", "waits_for_task", words)]
    listed, _ = await tasks.page(db, limit=20, bytes_=10**6, before=None)
    assert ", ".join(listed[0].waits_for) == shown
    await tasks.cancel(db, waiting, None)
    assert await tasks.obstacles(db, waiting) == []
    assert (await tasks.get(db, waiting)).waits_for is None


async def test_a_claim_reads_none_of_the_jobs_that_wait(db, dsn):
    first = await create(db, agent="other")
    await create_many(db, 500, predecessors=(first,), workers=20)
    await db._pool.fetch("analyze ado.jobs")
    last = await create(db)
    connection = await asyncpg.connect(dsn)
    for _ in range(2):  # at first the catalogue is read as well
        plan = await connection.fetchval(
            "explain (analyze, buffers, format json) select * from ado.take_heads(array['shell'], 1, 1, 1, 1)"
        )
    await connection.close()
    (pages,) = (await db._pool.fetch("select pg_relation_size('ado.jobs') / 8192 as pages"))[0]
    assert json.loads(plan)[0]["Plan"]["Shared Hit Blocks"] < pages / 5
    assert [job.task_id for job in await claim(db, limit=1)] == [last]
