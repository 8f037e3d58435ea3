"""Old ranges of the log go, whole and for good, and nothing waits for it."""

import asyncio
import contextlib

import psycopg
import pytest
from support.postgres import LOCK_WAITS
from support.records import append, batch, claim, closed, create, finish, register

from db import events, retention, tasks
from db.errors import PruneBusy

MONTH = 30 * 86_400.0
WIDTH = 100


def prune(dsn, seconds=0.0, **options):
    return asyncio.to_thread(lambda: [(r.first, r.last, r.tasks) for r in retention.prune(dsn, seconds, **options)])


async def ended(db, count=WIDTH):
    """Create tasks that end at once."""
    made = [await create(db, environment={"SECRET": "s"}, prompt="x" * 2000) for _ in range(count)]
    for task_id in made:
        await tasks.cancel(db, task_id, None)
    return made


async def raw(db, statement, *values):
    return await db._pool.fetch(statement, *values)


async def until(condition):
    """Wait until an awaitable condition gives something true."""
    async with asyncio.timeout(60):
        while not (found := await condition()):
            await asyncio.sleep(0.01)
        return found


@contextlib.asynccontextmanager
async def old_reader(dsn):
    """A transaction that has read the log and stays open."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("select count(*) from ado.events")
        yield connection


async def detaching(db):
    return await raw(db, "select from pg_inherits where inhdetachpending")


async def test_a_full_range_is_dropped_when_its_tasks_ended_before_the_limit(db, dsn):
    made = await ended(db, WIDTH - 2)
    assert await prune(dsn) == []  # another task will land in it
    made += await ended(db, 1)
    assert await prune(dsn, MONTH) == []
    await raw(db, "update ado.tasks set finished_at = now() - interval '31 days' where task_id <> 7")
    assert await prune(dsn, MONTH) == []
    await raw(db, "update ado.tasks set finished_at = now() - interval '31 days'")
    assert await prune(dsn, MONTH) == [(0, WIDTH - 1, len(made))]
    assert await prune(dsn, MONTH) == []
    assert await raw(db, "select to_regclass('ado.events_0') as it") == [(None,)]


async def test_a_pruned_task_keeps_its_outcome_and_loses_its_secrets(db, dsn):
    made = await ended(db, WIDTH - 1)
    await tasks.set_value(db, made[0], "k", 1, version=None, key_limit=10)
    await prune(dsn)
    task = await tasks.get(db, made[0])
    assert (task.status, task.reason, task.prompt, task.env_names) == ("cancelled", "cancelled", "x" * 1000, [])
    assert (await events.state(db, made[0])).pruned
    assert await raw(db, "select task_id from ado.task_environments union select task_id from ado.task_values") == []


async def test_a_task_of_a_pruned_range_cannot_be_retried(db, dsn):
    made = await ended(db, WIDTH - 1)
    await prune(dsn)
    assert not await tasks.retry(db, made[0])
    assert (await tasks.get(db, made[0])).status == "cancelled"


async def test_appends_to_other_ranges_work_while_a_prune_waits_for_a_reader(db, dsn):
    """The reader is there until the appends are through: an append that had to wait for the prune would for ever."""
    await ended(db, WIDTH - 1)
    running = await create(db)
    await register(db)
    await claim(db)
    async with old_reader(dsn):
        pruning = asyncio.create_task(prune(dsn))
        await until(lambda: detaching(db))
        async with asyncio.timeout(60):
            for number in range(1, 50):
                assert await append(db, [batch(running, number)], 30.0) == [True]
            await create(db)
            await events.extend(db, 5000)
            assert len((await events.page(db, running, 0, row_limit=1000, byte_limit=10**6)).events) == 51
        assert not pruning.done()
    assert await pruning == [(0, WIDTH - 1, WIDTH - 1)]


async def test_an_interrupted_prune_is_completed_by_the_next_one(db, dsn):
    made = await ended(db, WIDTH - 1)
    async with old_reader(dsn):
        with pytest.raises(PruneBusy, match="older than the prune"):
            await prune(dsn, wait_seconds=2)  # which each statement before has, too
    assert await detaching(db)
    assert (await events.state(db, made[0])).pruned
    assert await prune(dsn) == []
    assert await raw(db, "select to_regclass('ado.events_0') as it") == [(None,)]


async def test_a_task_that_is_just_being_created_keeps_its_range(db, dsn):
    await ended(db, WIDTH - 2)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(
            "insert into ado.tasks (prompt, agent, workers) values ('x', 'shell', 1)"
        )  # the range's last id, and nobody sees it yet
        pruning = asyncio.create_task(prune(dsn))
        await until(lambda: raw(db, LOCK_WAITS))
    assert await pruning == []
    assert (await events.state(db, 1)).pruned is False


async def test_a_waiting_prune_does_not_block_writers_of_tasks(db, dsn):
    await ended(db, WIDTH - 1)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("update ado.tasks set priority = 1 where task_id = 1")
        pruning = asyncio.create_task(prune(dsn))
        async with asyncio.timeout(60):
            await until(lambda: raw(db, LOCK_WAITS))
            await create(db)  # the transaction above is still open: the prune has let it by
    assert await pruning == [(0, WIDTH - 1, WIDTH - 1)]


async def test_one_prune_at_a_time(db, dsn):
    await ended(db, WIDTH - 1)
    async with old_reader(dsn):
        first = asyncio.create_task(prune(dsn))
        await until(lambda: detaching(db))
        with pytest.raises(PruneBusy, match="another prune"):
            await prune(dsn)
    await first


async def test_the_size_of_ranges_follows_the_daily_number_of_tasks(db):
    async def widths():
        return [row["w"] for row in await raw(db, "select to_task_id - from_task_id as w from ado.log_ranges")]

    assert set(await widths()) == {WIDTH}
    await raw(db, "select setval('ado.tasks_task_id_seq', 450)")
    await raw(
        db,
        "insert into ado.tasks (task_id, prompt, agent, workers) "
        "select n, 'x', 'x', 1 from generate_series(1, 1500, 9) n",
    )
    await events.extend(db, 1000)
    assert max(await widths()) == 1000
    await raw(db, "update ado.tasks set created_at = now() - interval '2 days'")
    await events.extend(db, 3000)
    assert (await widths())[-1] == WIDTH


async def test_a_task_ends_in_a_range_that_is_made_late(db):
    """Tasks may come faster than the janitor makes ranges."""
    await raw(db, "select setval('ado.tasks_task_id_seq', 5000)")
    task_id = await create(db)
    await register(db)
    await claim(db)
    await closed(db, finish(task_id))
    assert await tasks.settle(db, task_id) == "succeeded"


async def test_the_audit_records_a_dropped_range_with_the_name_of_the_login(db, dsn):
    await ended(db)
    assert await prune(dsn) == [(0, WIDTH - 1, WIDTH - 1)]
    (row,) = await raw(db, "select procedure, target, address, outcome from ado.audit")
    assert tuple(row[:2]) == ("db.prune", f"task-0..task-{WIDTH - 1}")
    assert row["address"].startswith("sql:")
    assert row["outcome"] == "ok"
