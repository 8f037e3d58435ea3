"""What an attempt owns, when a worker's word or its silence ends it, and what a loss costs."""

import asyncio

import pytest
from support.records import LEASE, SUSPECT, append, batch, claim, closed, create, finish, register

from app.loops import monitor
from app.settings import AppSettings
from db import events, jobs, queries, tasks, tokens, workers

SETTINGS = AppSettings(dsn="postgresql:///", suspect_seconds=SUSPECT, lease_seconds=LEASE)


async def raw(db, statement, *values):
    """Reach into the tables, as time or an operator would."""
    return await db._pool.fetch(statement, *values)


async def test_every_claimed_job_gets_a_token_of_its_own_that_ends_with_the_attempt(db):
    task_id = await create(db, workers=3)
    await register(db)
    claimed = await claim(db)
    owners = [await tokens.find(db, job.token) for job in claimed]
    assert [(o.role, o.task_id, o.job, o.attempt, o.valid) for o in owners] == [
        ("job", task_id, job, 1, True) for job in range(3)
    ]
    await jobs.end_attempts(db, [(task_id, 0, 1)], reason="lost", loss=True)
    await closed(db, finish(task_id, job=1))
    (again,) = await claim(db)
    assert [await tokens.find(db, job.token) is not None for job in claimed] == [False, False, True]
    assert (await tokens.find(db, again.token)).attempt == 2


async def test_the_end_of_one_attempt_ends_no_other_of_its_worker(db):
    first, second = await create(db, workers=2), await create(db, workers=2)
    await register(db)
    assert len(await claim(db)) == 4

    async def running():
        rows = await raw(db, "select task_id, job from ado.jobs where status = 'running' order by task_id, job")
        return [tuple(row) for row in rows]

    await closed(db, finish(first, job=0))
    assert await running() == [(first, 1), (second, 0), (second, 1)]
    before = (await events.state(db, first)).last_seq
    await jobs.end_attempts(db, [(second, 0, 1), (second, 1, 1)], reason="lost", loss=True)
    assert await running() == [(first, 1)]
    assert (await events.state(db, first)).last_seq == before
    assert await jobs.end_attempts(db, [(first, 0, 1)], reason="lost", loss=True) == []  # it has a result


async def test_a_lease_that_was_renewed_meanwhile_is_not_overdue(db):
    task_id = await create(db)
    await register(db)
    await claim(db)

    async def end():
        return await jobs.end_attempts(db, [(task_id, 0, 1)], reason="lost", loss=True, overdue_only=True)

    assert await end() == []
    await raw(db, "update ado.jobs set lease_expires_at = now() - interval '1 second'")
    assert len(await end()) == 1


async def test_a_token_of_a_job_is_stored_as_its_digest_alone(db):
    await create(db)
    await register(db)
    (job,) = await claim(db)
    tables = [await raw(db, f"select t.*::text as row from {name} t") for name in ("ado.jobs", "ado.tokens")]
    assert job.token.encode().hex() not in str(tables)
    assert job.token not in str(tables)
    assert tokens.digest(job.token).hex() in str(tables)


async def test_a_late_attempt_writes_no_value(db):
    """The store is fenced like the log: by the attempt, in the statement."""
    task_id = await create(db)
    await register(db)
    await claim(db)

    async def write(attempt):
        return await tasks.set_value(db, task_id, "k", attempt, version=None, key_limit=9, writer=(0, attempt))

    assert (await write(1)).version == 1
    await jobs.end_attempts(db, [(task_id, 0, 1)], reason="lost", loss=True)
    assert await write(1) is None
    await claim(db)
    assert await write(1) is None
    assert (await write(2)).version == 2


async def test_the_attempt_fences_a_worker_from_its_own_next_one(db):
    """The worker got its lost job again: what its first attempt still sends is refused by the number alone."""
    task_id = await create(db)
    await register(db)
    await claim(db)
    await jobs.end_attempts(db, [(task_id, 0, 1)], reason="lost", loss=True)
    assert [job.attempt for job in await claim(db)] == [2]
    assert await append(db, [batch(task_id)], LEASE) == [False]
    assert await closed(db, finish(task_id)) is None
    assert await jobs.end_attempts(db, [(task_id, 0, 1)], reason="lost", loss=True) == []
    beat = await workers.heartbeat(
        db,
        worker_id="w1",
        session="session-w1-i1",
        listed=[(task_id, 0, 1)],
        load=None,
        at=None,
        stopped=False,
        lease_seconds=LEASE,
    )
    assert [(job.key, job.listed) for job in beat.held] == [((task_id, 0, 2), False)]
    job = await jobs.get(db, task_id, 0)
    assert (job.status, job.attempt, job.last_batch) == ("running", 2, 0)


async def test_the_same_write_again_changes_nothing(db):
    task_id = await create(db)

    async def write(key, version):
        return await tasks.set_value(db, task_id, "k", key, version=version, key_limit=9, idempotency_key=key)

    assert (await write("a", 0)).version == 1
    assert await write("a", 0) is None
    assert await write("a", None) is None
    assert (await write("b", 1)).version == 2
    assert (await tasks.get_value(db, task_id, "k")).idempotency_key == "b"


async def test_a_job_that_a_worker_does_not_report_returns_without_a_loss(db):
    """A claim crossed the worker's heartbeat: the monitor requeues the job."""
    task_id = await create(db)
    await register(db)
    await claim(db)
    await workers.heartbeat(
        db, worker_id="w1", session="session-w1-i1", listed=[], load=None, at=None, stopped=True, lease_seconds=LEASE
    )
    await monitor.step(db, SETTINGS)
    job = await jobs.get(db, task_id, 0)
    assert (job.status, job.attempt) == ("queued", 1)
    assert (await raw(db, "select losses from ado.jobs"))[0]["losses"] == 0
    assert await claim(db) is None  # it has ended


@pytest.mark.parametrize("losses", [1, 3, 5])
async def test_a_job_fails_at_the_configured_number_of_losses(db, losses):
    task_id = await create(db)
    await register(db)
    await workers.monitor_tick(db, heartbeat=5, suspect=SUSPECT, lease=LEASE, losses=losses, attempts=20)
    for attempt in range(1, losses + 1):
        await raw(db, "update ado.jobs set run_after = now()")
        assert await claim(db)
        (ended,) = await jobs.end_attempts(db, [(task_id, 0, attempt)], reason="lost", loss=True)
        assert ended.status == ("failed" if attempt == losses else "queued")


@pytest.mark.parametrize("jump", ["2 hours", "-2 hours"])
async def test_a_jump_of_the_database_clock_changes_no_lease(db, jump):
    """Leases and heartbeats move with the clock, forwards and backwards."""
    await monitor.step(db, SETTINGS)  # else the age of the test's database is a jump of its own
    await create(db)
    await register(db)
    await claim(db)
    await workers.monitor_tick(db, heartbeat=5, suspect=SUSPECT, lease=LEASE, losses=3, attempts=20)
    for table, column in (
        ("control", "last_tick_at"), ("workers", "last_heartbeat_at"), ("jobs", "lease_expires_at"),
    ):  # fmt: skip
        await raw(db, f"update ado.{table} set {column} = {column} - interval '{jump}'")
    await monitor.step(db, SETTINGS)
    (row,) = await raw(db, "select status, extract(epoch from lease_expires_at - now()) as left from ado.jobs")
    assert row["status"] == "running"
    assert LEASE - 10 < row["left"] <= LEASE
    assert (await workers.listing(db))[0].state == "busy"


async def test_a_retry_waits_until_the_siblings_of_a_failed_job_have_stopped(db):
    task_id = await create(db, workers=2, on_failure="fail_fast")
    await register(db)
    await claim(db)
    await closed(db, finish(task_id, "failed", job=0))
    await tasks.after_failure(db, task_id)
    assert not await tasks.retry(db, task_id)
    await closed(db, finish(task_id, "cancelled", job=1))
    assert await tasks.settle(db, task_id) == "failed"
    assert await tasks.retry(db, task_id)
    assert [job.status for job in (await tasks.get(db, task_id)).jobs] == ["queued", "queued"]


@pytest.mark.parametrize("on_failure", ["continue", "fail_fast"])
async def test_one_job_is_retried_alone_unless_another_failure_would_stop_it(db, on_failure):
    task_id = await create(db, workers=3, on_failure=on_failure)
    await register(db)
    await claim(db)
    for job, outcome in enumerate(["failed", "succeeded", "failed"]):
        await closed(db, finish(task_id, outcome, job=job))
    assert await tasks.settle(db, task_id) == "failed"
    assert not await tasks.retry(db, task_id, job=1)
    assert not await tasks.retry(db, task_id, job=3)
    alone = on_failure == "continue"
    assert await tasks.retry(db, task_id, job=2) == alone
    task = await tasks.get(db, task_id)
    assert [job.status for job in task.jobs] == ["failed", "succeeded", "queued" if alone else "failed"]
    assert task.status == ("queued" if alone else "failed")
    if alone:
        assert [job.job for job in await claim(db)] == [2]
        await closed(db, finish(task_id, job=2, attempt=2))
        assert await tasks.settle(db, task_id) == "failed"
        assert (await tasks.get(db, task_id)).failed_job == 0
    assert await tasks.retry(db, task_id)


async def test_fifty_updates_have_one_winner_a_version(db):
    task_id = await create(db)
    won = []

    async def update(number):
        while True:
            version = (await tasks.get(db, task_id)).version
            if await tasks.update(db, task_id, version, number, None):
                won.append(version)
                return

    await asyncio.gather(*(update(number) for number in range(50)))
    assert sorted(won) == list(range(1, 51))


async def test_the_monitor_reads_a_constant_number_of_rows_for_a_longer_queue(db):
    """It settles tasks that another process left unsettled, and reads no task that only waits."""
    for _ in range(300):
        await create(db)
    left, failed = await create(db), await create(db, workers=2, on_failure="fail_fast")
    await db.many("cancel_task", task_id=left, reason=None, actor=None)
    await raw(
        db,
        """with failed as (update ado.jobs set status = 'failed', finished_at = now() where task_id = $1 and job = 0)
           update ado.tasks set failed_job = 0 where task_id = $1""",
        failed,
    )  # as a spawner leaves it that dies after a pod's failure
    assert sorted(await tasks.unsettled(db)) == [left, failed]
    await monitor.step(db, SETTINGS)
    assert [(await tasks.get(db, task_id)).status for task_id in (left, failed)] == ["cancelled", "failed"]
    await raw(db, "analyze ado.tasks")
    plan = await raw(db, "explain " + queries.load()["unsettled_tasks"].numbered)
    assert "tasks_unsettled_idx" in str(plan)
