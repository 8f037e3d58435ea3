"""Whose jobs are claimed next, and what the limits of users allow, also to many claims at once."""

import asyncio
from collections import Counter
from decimal import Decimal

import asyncpg
import pytest
from support.postgres import LOCK_WAITS
from support.records import claim, create, register

from db import jobs, tasks, users
from db.actor import Actor
from db.database import Database
from db.users import UserLimits


async def add(db, name, **limits):
    user = await users.add(db, name, "developer", email=None, external_id=None, limits=UserLimits(**limits), actor=None)
    return Actor("tasks.create", f"user-{user.user_id}", None, name=name)


async def owners(db, claimed):
    """Return who created the tasks of claimed jobs, in the order of the claim."""
    return [(await tasks.get(db, job.task_id)).created_by for job in claimed]


async def claim_one_by_one(db, times, worker_id="w1"):
    found = []
    for _ in range(times):
        found += await owners(db, await claim(db, worker_id, limit=1))
    return "".join(name or "-" for name in found)


async def running(db):
    return (await db._pool.fetch("select count(*) as n from ado.jobs where status = 'running'"))[0]["n"]


async def test_users_of_equal_priority_take_turns(db):
    anna, bert = await add(db, "a"), await add(db, "b")
    await create(db, workers=50, actor=anna)
    for _ in range(3):
        await create(db, actor=bert)
    await create(db, workers=2)  # a service's
    await register(db)
    assert await claim_one_by_one(db, 10) == "ab-ab-abaa"


async def test_a_higher_priority_comes_first_for_every_user(db):
    anna, bert = await add(db, "a"), await add(db, "b")
    await create(db, workers=3, actor=anna, priority=5)
    await create(db, workers=2, actor=bert)
    await create(db, workers=2, actor=anna)
    await register(db)
    assert await claim_one_by_one(db, 7) == "aaababa"


async def test_turns_hold_for_jobs_of_any_requirements(db):
    anna, bert = await add(db, "a"), await add(db, "b")
    for capability in ("x", "y"):
        await create(db, workers=4, actor=anna, requires=(capability,))
    await create(db, workers=2, actor=bert, requires=("z",))
    await register(db, capabilities=("shell", "x", "y", "z"))
    assert await claim_one_by_one(db, 6) == "ababaa"


async def test_a_claim_of_many_jobs_gives_each_user_its_share(db):
    anna, bert = await add(db, "a"), await add(db, "b")
    await create(db, workers=50, actor=anna)
    await create(db, workers=50, actor=bert)
    await register(db)
    assert Counter(await owners(db, await claim(db, limit=10))) == {"a": 5, "b": 5}


async def test_without_another_user_the_order_is_by_priority_and_age(db):
    old = await create(db, workers=2)
    urgent = await create(db, priority=3)
    await add(db, "a")
    await register(db)
    assert {job.task_id for job in await claim(db, limit=2)} == {urgent, old}


async def test_concurrent_claims_do_not_pass_the_limit_of_running_jobs(db, dsn):
    anna, bert = await add(db, "a", running=3), await add(db, "b", running=2)
    await create(db, workers=40, actor=anna)
    await create(db, workers=40, actor=bert, requires=("x",))
    other = await Database.open(dsn, size=8)
    try:
        for number in range(16):
            await register(db, f"w{number}", capabilities=("shell", "x"))
        for _ in range(2):
            await asyncio.gather(*(claim([db, other][n % 2], f"w{n}", limit=5) for n in range(16)))
    finally:
        await other.close()
    found = await db._pool.fetch("select user_id, count(*) as n from ado.jobs where status = 'running' group by 1")
    assert {row["user_id"]: row["n"] for row in found} == {1: 3, 2: 2}


async def test_a_job_over_a_limit_blocks_no_other_user_and_runs_once_there_is_room(db):
    anna = await add(db, "a", running=1)
    first = await create(db, workers=3, actor=anna)
    await create(db, workers=2)
    await register(db)
    assert await claim_one_by_one(db, 5) == "a--"
    assert await jobs.ready_demands(db) == []
    waiting = await db._pool.fetch("select distinct unmet, help from ado.why_pending")
    assert [tuple(row) for row in waiting] == [("quota", "a has 1 jobs running, the limit is 1")]
    assert (await tasks.get(db, first)).quota == "a has 1 jobs running, the limit is 1"
    await users.change(db, 1, limits=UserLimits(running=2), actor=None)
    assert (await jobs.ready_demands(db))[0].jobs == 1
    assert await claim_one_by_one(db, 2) == "a"
    await users.change(db, 1, cleared=["running"], actor=None)
    assert await claim_one_by_one(db, 2) == "a"
    assert (await tasks.get(db, first)).quota is None


async def test_a_limit_of_the_role_holds_for_each_user_without_one_of_its_own(db):
    anna, bert = await add(db, "a"), await add(db, "b", running=2)
    await users.set_role_limits(db, "developer", UserLimits(running=1), [], None)
    await create(db, workers=5, actor=anna)
    await create(db, workers=5, actor=bert)
    await register(db)
    assert Counter(await claim_one_by_one(db, 6)) == {"a": 1, "b": 2}


async def test_a_user_over_the_daily_cost_limit_waits(db):
    anna = await add(db, "a", cost_per_day=Decimal("1.5"))
    await create(db, workers=3, actor=anna)
    await register(db)
    assert await claim_one_by_one(db, 1) == "a"
    await db._pool.fetch(
        """insert into ado.attempt_usage (task_id, job, attempt, agent, at, cost_usd, user_id)
           values (1, 0, 1, 'shell', now() - interval '23 hours', 1.5, 1)"""
    )
    assert await claim_one_by_one(db, 1) == ""
    await db._pool.fetch("update ado.attempt_usage set at = now() - interval '25 hours'")
    assert await claim_one_by_one(db, 1) == "a"


async def test_concurrent_creations_do_not_pass_the_limit_of_waiting_jobs(db, dsn):
    anna = await add(db, "a", queued=10)
    other = await Database.open(dsn, size=8)
    try:
        made = await asyncio.gather(*(create([db, other][n % 2], workers=3, actor=anna) for n in range(12)))
    finally:
        await other.close()
    assert sum(task is not None for task in made) == 3
    assert await create(db, workers=2, actor=anna) is None
    assert await create(db, actor=anna) is not None
    assert await create(db, workers=50) is not None, "a service has no limit"


async def test_a_creation_counts_the_jobs_of_an_uncommitted_earlier_one(db, dsn):
    anna = await add(db, "a", queued=10)
    before = await asyncpg.connect(dsn)
    try:
        async with before.transaction():
            assert await before.fetchval("select ado.queue_room(1)") == 10
            creating = asyncio.create_task(create(db, workers=2, actor=anna))
            async with asyncio.timeout(60):
                while not await before.fetch(LOCK_WAITS):
                    assert not creating.done()
            await before.execute("update ado.users set queued_limit = 1 where user_id = 1")
        assert await creating is None
    finally:
        await before.close()


async def test_a_retry_does_not_pass_the_limit_of_waiting_jobs(db):
    anna = await add(db, "a", queued=3)
    ended = await create(db, workers=2, actor=anna)
    await tasks.cancel(db, ended, None)
    other = await create(db, workers=2, actor=anna)
    assert not await tasks.retry(db, ended)
    await tasks.cancel(db, other, None)
    assert await tasks.retry(db, ended)


async def test_a_job_with_a_pod_waits_for_the_limit_of_its_user(db):
    anna = await add(db, "a", running=1)
    await create(db, workers=2, actor=anna)
    await register(db, "pod-1")
    await register(db)
    assert await claim_one_by_one(db, 1) == "a"
    await db._pool.fetch(
        "insert into ado.pods (name, decision, namespace, task_id, job, state)"
        " values ('pod-1', 1, 'ado', 1, 1, 'placed')"
    )
    assert await claim(db, "pod-1", limit=1) == []
    await db._pool.fetch("delete from ado.pods")
    assert await db.many("podless_jobs", capabilities=["shell"], row_limit=10, closed=[]) == []
    await users.change(db, 1, limits=UserLimits(running=2), actor=None)
    found = await db.many("podless_jobs", capabilities=["shell"], row_limit=10, closed=[])
    assert [(row["task_id"], row["job"]) for row in found] == [(1, 1)]


@pytest.mark.parametrize("limited", [False, True])
async def test_many_claims_of_many_users_find_all_jobs(db, dsn, limited):
    """Nothing waits for ever for a lock, and no job is given twice."""
    for name in "abcd":
        user = await add(db, name, **({"running": 100} if limited else {}))
        await create(db, workers=25, actor=user)
    other = await Database.open(dsn, size=8)
    try:
        for number in range(8):
            await register(db, f"w{number}")
        found = []
        while await running(db) < 100:
            answers = await asyncio.gather(*(claim([db, other][n % 2], f"w{n}", limit=4) for n in range(8)))
            found += [(job.task_id, job.job) for answer in answers for job in answer or []]
    finally:
        await other.close()
    assert len(found) == len(set(found)) == 100
