"""Claims are fast behind jobs that match no worker, also with statistics of an empty queue."""

import time

import pytest
from support.records import claim, create, new_task, register

from db import jobs, tasks
from db.database import Database

SECONDS = 0.5  # with a plan that reads the table for each demand it takes ten times as long


@pytest.fixture
async def behind(db, dsn):
    """Queue 4,000 tasks with distinct requirements; statistics say that one job of 5,000 is queued."""
    await db._pool.fetch("alter table ado.jobs set (autovacuum_enabled = off)")
    for _ in range(5):
        await tasks.cancel(db, await create(db, workers=1000), None)
    await create(db, requires=("x",))
    await db._pool.fetch("analyze ado.jobs")
    for first in range(0, 4000, 100):
        await tasks.create_all(db, [new_task(requires=(f"r{first + number}",), priority=1) for number in range(100)])
    fresh = await Database.open(dsn, size=1)
    await register(fresh)
    yield fresh
    await fresh.close()


async def test_a_runnable_task_is_claimed_without_delay(behind):
    task_id = await create(behind)
    began = time.monotonic()
    claimed = await claim(behind)
    assert time.monotonic() - began < SECONDS
    assert [job.task_id for job in claimed] == [task_id]


async def test_reading_the_queue_is_fast_and_lists_only_claimable_jobs(behind):
    await create(behind)
    began = time.monotonic()
    found = await jobs.ready_demands(behind, {"shell", "unused"})
    assert time.monotonic() - began < SECONDS
    assert [(demand.needs, demand.jobs) for demand in found] == [({"shell"}, 1)]
    began = time.monotonic()
    assert len(await jobs.ready_demands(behind)) == 4002
    assert time.monotonic() - began < SECONDS


async def test_a_spawner_lists_the_jobs_without_a_pod(behind):
    task_id = await create(behind)
    began = time.monotonic()
    rows = await behind.many("podless_jobs", capabilities=["shell"], row_limit=10)
    assert time.monotonic() - began < SECONDS
    assert [(row["task_id"], row["job"]) for row in rows] == [(task_id, 0)]


async def test_a_job_past_its_start_limit_is_listed(behind):
    task_id = await create(behind, start_within_seconds=60)
    await behind._pool.fetch("update ado.tasks set start_by = now() - interval '1 s' where start_by is not null")
    began = time.monotonic()
    assert [job.task_id for job in await jobs.fail_unstarted(behind)] == [task_id]
    assert time.monotonic() - began < SECONDS
