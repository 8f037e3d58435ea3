"""Claims read little behind jobs that match no worker, also with statistics of an empty queue."""

import random
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from support.records import LEASE, SUSPECT, claim, create, new_task, register

from db import health, jobs, samples, tasks, workers
from db.database import Database

DEMANDS = 4002
FLUSH = "select pg_stat_force_next_flush()"  # the server counts rows when a connection says what it has read
MOST_ROWS = 3 * DEMANDS  # a plan that reads the table for each demand reads thousands of times as many

FEW_ROWS = 40


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


async def test_a_claim_hops_over_demands_that_its_worker_cannot_meet(behind):
    task_id = await create(behind)
    before = await rows_read(behind)
    claimed = await claim(behind)
    assert await rows_read(behind) - before < FEW_ROWS
    assert [job.task_id for job in claimed] == [task_id]


async def test_reading_the_queue_reads_each_demand_once_and_lists_only_claimable_jobs(behind):
    await create(behind)
    before = await rows_read(behind)
    found = await jobs.ready_demands(behind, {"shell", "unused"})
    assert await rows_read(behind) - before < FEW_ROWS
    assert [(demand.needs, demand.jobs) for demand in found] == [({"shell"}, 1)]
    before = await rows_read(behind)
    assert len(await jobs.ready_demands(behind)) == DEMANDS
    assert await rows_read(behind) - before < MOST_ROWS


async def test_a_status_counts_only_so_many_jobs_of_so_many_demands(behind):
    before = await rows_read(behind)
    found = await jobs.ready_demands(behind, in_all=1000)
    assert await rows_read(behind) - before < 3 * 1000
    assert [demand.jobs for demand in found] == [1] * 100


async def test_the_jobs_that_are_counted_are_shared_by_the_demands(db):
    await create(db, workers=70)
    await create(db, workers=40, requires=("x",))
    assert sorted(demand.jobs for demand in await jobs.ready_demands(db, in_all=100)) == [40, 50]


async def test_a_worker_finds_all_demands_that_it_can_meet_and_no_others(db):
    draw = random.Random(7)
    names = ["B", "a", "a1", "b", "é", "shell", "z" * 200, "\x01", "a b", "{,}"]
    wanted = [tuple(draw.sample(names, draw.randint(0, 6))) for _ in range(300)]
    await tasks.create_all(db, [new_task(requires=needs) for needs in wanted])
    for _ in range(40):
        offered = {"shell", *draw.sample(names, draw.randint(0, len(names)))}
        found = [demand.needs for demand in await jobs.ready_demands(db, offered)]
        able = [needs for needs in map(frozenset(["shell"]).union, wanted) if needs <= offered]
        assert (set(found), len(found)) == (set(able), len(set(able)))
        taken = "select from ado.take_heads($1, null, null, null, 1000)"
        assert len(await db._pool.fetch(taken, offered)) == len(able)


async def test_a_job_with_the_longest_names_fits_the_queue(db):
    draw = random.Random(7)
    agent, *requires = ("".join(chr(draw.randint(0x20000, 0x2A6D0)) for _ in range(200)) for _ in range(100))
    await create(db, agent=agent, requires=tuple(requires))
    assert [demand.needs for demand in await jobs.ready_demands(db)] == [{agent, *requires}]


async def test_a_deep_queue_is_counted_by_the_last_sample(db):
    for _ in range(12):
        await create(db, workers=1000)
    assert await jobs.counts(db) == (10001, 0, 0)  # there is no sample yet
    assert await samples.take(db)
    assert await jobs.counts(db) == (12000, 0, 0)
    for task_id in range(1, 11):
        await tasks.pause(db, task_id, None)
    assert await jobs.counts(db) == (2000, 0, 10000)
    await tasks.pause(db, 11, None)
    assert await jobs.counts(db) == (1000, 0, 10001)  # the sample has none that are paused
    await db._pool.fetch("update ado.samples set paused = 11000")
    assert (await health.jobs(db))[0] == {"queued": 1000, "running": 0, "paused": 11000}
    await db._pool.fetch("update ado.samples set at = $1", datetime.now(UTC) - timedelta(minutes=4))
    assert await jobs.counts(db) == (1000, 0, 10001)  # replicas may have been away


async def test_a_deep_queue_behind_ended_jobs_is_counted_without_reading_those(behind, dsn):
    table = {"seq_page_cost": "0", "cpu_tuple_cost": "0"}  # to read it seems to cost nothing
    connection = await asyncpg.connect(dsn, server_settings=table)
    before = await rows_read(behind)
    assert tuple(await connection.fetchrow("select * from ado.open_jobs(1000)")) == (1000, 0, 0)
    await connection.close()  # it says what it has read
    assert await rows_read(behind) - before <= 1000


async def test_a_spawner_lists_the_jobs_without_a_pod(behind):
    task_id = await create(behind)
    before = await rows_read(behind)
    rows = await behind.many("podless_jobs", capabilities=["shell"], row_limit=10, closed=[])
    assert await rows_read(behind) - before < FEW_ROWS
    assert [(row["task_id"], row["job"]) for row in rows] == [(task_id, 0)]


async def test_a_job_past_its_start_limit_is_listed(behind):
    task_id = await create(behind, start_within_seconds=60)
    await behind._pool.fetch("update ado.tasks set start_by = now() - interval '1 s' where start_by is not null")
    before = await rows_read(behind)
    assert [job.task_id for job in await jobs.fail_unstarted(behind)] == [task_id]
    assert await rows_read(behind) - before < DEMANDS


async def test_without_users_and_failures_of_agents_a_claim_calls_no_other_function_of_the_queue(db, dsn):
    task_id = await create(db)
    connection = await asyncpg.connect(dsn)
    await connection.execute("begin; drop function ado.queue_groups cascade; drop function ado.probe_jobs cascade")
    taken = await connection.fetch("select task_id from ado.take_heads(array['shell'], 1, 1, 1, 5)")
    await connection.close()
    assert [row["task_id"] for row in taken] == [task_id]


async def test_a_claim_hints_once_for_each_task(db, dsn):
    together, alone = await create(db, workers=3), await create(db)
    await register(db)
    session = (await workers.registered(db, "w1")).session
    rows = await db.many(
        "claim_jobs", worker_id="w1", session=session, claims=0, job_limit=10, suspect_seconds=SUSPECT,
        lease_seconds=LEASE, token_digests=[b"x"] * 10, credential_digests=None,
    )  # fmt: skip
    hints = [hint for row in rows for hint in row["hints"] or ()]
    assert sorted(hints) == [f"e:{together}:4", f"e:{alone}:2"]
    assert len(rows) == 4
