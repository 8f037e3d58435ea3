"""Tasks that start after others: what they wait for, what ends them, and that no end is missed."""

import asyncio
import json

import asyncpg
import pytest
from support.records import claim, closed, create, finish, new_task, register

from app.loops import monitor
from app.settings import AppSettings
from db import dependencies, events, jobs, tasks


@pytest.fixture(autouse=True)
async def worker(db):
    return await register(db, slots=5000)


async def states(db, task_id):
    task = await tasks.get(db, task_id)
    return task.status, {(job.status, job.reason) for job in task.jobs}


WAITS = ("queued", {("paused", "waits_for_task")})
QUEUED = ("queued", {("queued", None)})
CANCELLED = ("cancelled", {("cancelled", "predecessor_failed")})


async def run(db, task_id):
    """Have the worker claim the task."""
    assert task_id in {job.task_id for job in await claim(db)}


async def end(db, task_id, outcome="succeeded", *, attempt=1):
    """End a task that runs, as its worker and its replica do."""
    assert await closed(db, finish(task_id, outcome, attempt=attempt)) is not None
    await tasks.settle(db, task_id)


async def create_many(db, count, **values):
    await events.extend(db, count)
    return [task.task_id for task in await tasks.create_all(db, [new_task(**values) for _ in range(count)])]


async def is_told(db):
    """Whether no task that has ended is waited for any more."""
    rows = await db._pool.fetch("select 1 from ado.tasks where is_awaited and finished_at is not null")
    return not rows


async def log(db, task_id):
    page = await events.page(db, task_id, 0, row_limit=1000, byte_limit=1 << 30)
    return [(event.seq, event.type, json.loads(event.body or "{}")) for event in page.events]


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


async def test_a_long_chain_is_cancelled_by_the_monitor(db, dsn):
    last = first = await create(db)
    await claim(db)
    for _ in range(12):
        last = await create(db, predecessors=(last,))
    await end(db, first, "failed")
    assert await states(db, last) == WAITS  # the answer to the worker's report does not wait for so many
    await monitor.step(db, AppSettings(dsn=dsn))
    assert await states(db, last) == CANCELLED


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
    async with Held(dsn, db, "create_tasks", tasks=wish) as created:
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


async def test_a_wait_is_no_time_in_which_a_task_must_start(db):
    first = await create(db)
    await claim(db)
    waiting = await create(db, predecessors=(first,), start_within_seconds=1e-6)
    assert await jobs.fail_unstarted(db) == []
    await end(db, first)
    assert [failed.task_id for failed in await jobs.fail_unstarted(db)] == [waiting]


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
