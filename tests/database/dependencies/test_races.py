"""Ends, creations and retries at the same moment: no end of a task is missed."""

import asyncio

import asyncpg
from support.dependencies import CANCELLED, QUEUED, WAITS, create_many, is_told, run, states
from support.records import claim, closed, create, finish, new_task

from app.loops import monitor
from app.settings import AppSettings
from db import dependencies, jobs, tasks


async def test_a_replica_that_dies_after_the_end_of_a_task_leaves_the_news_to_a_monitor(db, dsn):
    first = await create(db)
    await claim(db)
    second = await create(db, predecessors=(first,))
    third = await create(db, predecessors=(second,))
    await closed(db, finish(first, "failed"))
    await db.many("settle_tasks", task_ids=[first])  # and no more
    assert await states(db, second) == WAITS
    await db.many("start_dependents")  # another one dies before it has ended the task that it cancelled
    assert (await tasks.get(db, second)).status == "queued"
    await monitor.step(db, AppSettings(dsn=dsn))
    assert [await states(db, task_id) for task_id in (second, third)] == [CANCELLED, CANCELLED]


class Held:
    """A statement in a transaction that is not committed until the block ends."""

    def __init__(self, dsn, db, statement, **values):
        self.dsn, self.statement, self.values = dsn, statement, values

    async def __aenter__(self):
        from db.queries import load

        query = load()[self.statement]
        self.connection = await asyncpg.connect(self.dsn)
        self.transaction = self.connection.transaction()
        await self.transaction.start()
        return await self.connection.fetch(query.numbered, *query.arguments(self.values))

    async def __aexit__(self, *_):
        await self.transaction.commit()
        await self.connection.close()


async def waits_for_a_lock(db):
    """Wait until some statement waits for another one's lock."""
    while not await db._pool.fetch(
        "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    ):
        await asyncio.sleep(0.01)


async def test_of_two_ends_at_the_same_moment_the_second_finds_the_first(db, dsn):
    first, second = [await create(db) for _ in range(2)]
    await claim(db)
    waiting = await create(db, predecessors=(first, second))
    await jobs.finish_all(db, [finish(first), finish(second)])
    await db.many("settle_tasks", task_ids=[first])
    async with Held(dsn, db, "start_dependents"):  # it sees the first one only, and has not committed
        await db.many("settle_tasks", task_ids=[second])
        other = asyncio.create_task(dependencies.start_waiting(db))  # it sees none of what the first one does
        await waits_for_a_lock(db)
    await other
    assert await states(db, waiting) == QUEUED


async def test_two_ends_in_transactions_that_do_not_see_each_other_start_what_waits_for_both(db, dsn):
    first, second = [await create(db) for _ in range(2)]
    await claim(db)
    waiting = await create(db, predecessors=(first, second))
    await jobs.finish_all(db, [finish(first), finish(second)])
    async with Held(dsn, db, "settle_tasks", task_ids=[first]):
        await tasks.settle(db, second)
        assert await states(db, waiting) == WAITS
    await dependencies.start_waiting(db)
    assert await states(db, waiting) == QUEUED


async def test_a_task_that_ends_again_while_its_first_end_is_told_is_told_again(db, dsn):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,))
    await closed(db, finish(first, "failed"))
    await db.many("settle_tasks", task_ids=[first])
    async with Held(dsn, db, "pause_task", task_id=waiting, reason=None, actor=None):
        telling = asyncio.create_task(db.many("start_dependents"))  # it has read the first end, and waits for the job
        await waits_for_a_lock(db)
        await tasks.retry(db, first)
        later = await create(db, predecessors=(first,))
        await run(db, first)
        await closed(db, finish(first, attempt=2))
        await db.many("settle_tasks", task_ids=[first])
    await telling
    await dependencies.start_waiting(db)
    assert await states(db, later) == QUEUED


async def test_a_task_that_ends_while_another_is_created_after_it_starts_that(db, dsn):
    first = await create(db)
    await claim(db)
    await closed(db, finish(first))
    wish = tasks._text([tasks._columns(0, new_task(predecessors=(first,)))])
    async with Held(dsn, db, "create_tasks", announce=False, tasks=wish) as created:
        settled = asyncio.create_task(tasks.settle(db, first))  # it has read that nothing waits
        await waits_for_a_lock(db)
    assert await settled == "succeeded"
    assert await states(db, created[0]["task_id"]) == QUEUED


async def test_a_task_that_is_created_while_the_one_before_it_ends_starts(db, dsn):
    first = await create(db)
    await claim(db)
    await closed(db, finish(first))
    async with Held(dsn, db, "settle_tasks", task_ids=[first]):
        created = asyncio.create_task(create(db, predecessors=(first,)))
        await waits_for_a_lock(db)
    assert await states(db, await created) == QUEUED


async def test_ends_and_creations_and_cancels_at_once_leave_nothing_behind(db):
    before = await create_many(db, 20)
    await claim(db)
    waiting = [await create(db, predecessors=tuple(before[i::4])) for i in range(4) for _ in range(5)]

    async def create_more():
        return [await create(db, predecessors=(task_id,), any_end=True) for task_id in before]

    async def end_all():
        for position in range(0, 20, 2):
            await jobs.finish_all(db, [finish(task_id) for task_id in before[position : position + 2]])
            await asyncio.gather(*(tasks.settle(db, task_id) for task_id in before[position : position + 2]))

    more, *_ = await asyncio.gather(
        create_more(), end_all(), *(tasks.cancel(db, task_id, None) for task_id in waiting[::5])
    )
    found = [(await tasks.get(db, task_id)).status for task_id in [*waiting, *more]]
    assert found == ["cancelled" if i < 20 and i % 5 == 0 else "queued" for i in range(40)]
    assert {reason for task_id in more for _, reason in (await states(db, task_id))[1]} == {None}
    assert await is_told(db)
