"""Claims read little behind jobs that match no worker, also with statistics of an empty queue."""

import pytest
from support.records import claim, create, new_task, register

from db import jobs, tasks
from db.database import Database

DEMANDS = 4002
FLUSH = "select pg_stat_force_next_flush()"  # the server counts rows when a connection says what it has read
MOST_ROWS = 3 * DEMANDS  # a plan that reads the table for each demand reads thousands of times as many


@pytest.fixture
async def behind(dsn):
    """Queue 4,000 tasks with distinct requirements; statistics say that one job of 5,000 is queued."""
    db = await Database.open(dsn, size=1)
    await db._pool.fetch("alter table ado.jobs set (autovacuum_enabled = off)")
    for _ in range(5):
        await tasks.cancel(db, await create(db, workers=1000), None)
    await create(db, requires=("x",))
    await db._pool.fetch("analyze ado.jobs")
    for first in range(0, 4000, 100):
        await tasks.create_all(db, [new_task(requires=(f"r{first + number}",), priority=1) for number in range(100)])
    await db._pool.fetch(FLUSH)
    await db.close()
    fresh = await Database.open(dsn, size=1)
    await register(fresh)
    yield fresh
    await fresh.close()


async def rows_read(db):
    """Return how many rows of the queue this database's only connection has read."""
    await db._pool.fetch(FLUSH)
    counts = "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables"
    return (await db._pool.fetch(f"{counts} where relid = 'ado.jobs'::regclass"))[0][0]


async def test_a_claim_reads_each_demand_once(behind):
    task_id = await create(behind)
    before = await rows_read(behind)
    claimed = await claim(behind)
    assert await rows_read(behind) - before < MOST_ROWS
    assert [job.task_id for job in claimed] == [task_id]


async def test_reading_the_queue_reads_each_demand_once_and_lists_only_claimable_jobs(behind):
    await create(behind)
    before = await rows_read(behind)
    found = await jobs.ready_demands(behind, {"shell", "unused"})
    assert await rows_read(behind) - before < MOST_ROWS
    assert [(demand.needs, demand.jobs) for demand in found] == [({"shell"}, 1)]
    before = await rows_read(behind)
    assert len(await jobs.ready_demands(behind)) == DEMANDS
    assert await rows_read(behind) - before < MOST_ROWS


async def test_a_spawner_lists_the_jobs_without_a_pod(behind):
    task_id = await create(behind)
    before = await rows_read(behind)
    rows = await behind.many("podless_jobs", capabilities=["shell"], row_limit=10, closed=[])
    assert await rows_read(behind) - before < MOST_ROWS
    assert [(row["task_id"], row["job"]) for row in rows] == [(task_id, 0)]


async def test_a_job_past_its_start_limit_is_listed(behind):
    task_id = await create(behind, start_within_seconds=60)
    await behind._pool.fetch("update ado.tasks set start_by = now() - interval '1 s' where start_by is not null")
    before = await rows_read(behind)
    assert [job.task_id for job in await jobs.fail_unstarted(behind)] == [task_id]
    assert await rows_read(behind) - before < DEMANDS
