"""A job that is not claimed in time fails once, with what it waited for."""

import asyncio

import pytest
from support.records import claim, closed, create, finish, register

from app.loops import monitor
from app.settings import AppSettings
from db import events, jobs, tasks
from db.model import ResourceAmounts

SETTINGS = AppSettings(dsn="unused")


async def overdue(db, **wish):
    """Create a task whose time to start is over."""
    task_id = await create(db, start_within_seconds=60, **wish)
    await db._pool.fetch("update ado.tasks set start_by = now() - interval '1 s' where task_id = $1", task_id)
    return task_id


async def types(db, task_id):
    return [event.type for event in (await events.page(db, task_id, 0, row_limit=100, byte_limit=2**20)).events]


async def test_a_job_past_its_start_limit_fails_and_ends_the_task(db):
    task_id = await overdue(db, workers=2)
    await monitor.step(db, SETTINGS)
    task = await tasks.get(db, task_id)
    assert (task.status, task.reason, task.failed_job) == ("failed", "not_started", 0)
    assert {(job.status, job.reason, job.attempt) for job in task.jobs} == {("failed", "not_started", 0)}
    assert await types(db, task_id) == ["created", "finished", "finished", "failed"]
    assert task.message == "not started within 60 s: no live worker offers shell"


async def test_a_job_within_its_start_limit_stays_queued(db):
    task_id = await create(db, start_within_seconds=60)
    await monitor.step(db, SETTINGS)
    task = await tasks.get(db, task_id)
    assert task.status == "queued"
    assert 50 < (task.start_by - task.created_at).total_seconds() <= 60


async def test_only_jobs_that_were_never_claimed_fail(db):
    task_id = await overdue(db, workers=3)
    await register(db)
    assert len(await claim(db, limit=2)) == 2
    await jobs.end_attempts(db, [(task_id, 1, 1)], reason="lost", loss=True)  # queued again, but it had started
    await monitor.step(db, SETTINGS)
    assert [job.status for job in (await tasks.get(db, task_id)).jobs] == ["running", "queued", "failed"]


@pytest.mark.parametrize(
    ("wish", "waited"),
    [
        ({"requires": ("gpu",)}, "no live worker offers gpu, shell"),
        ({"resources": ResourceAmounts(cpu=99)}, "no worker that offers shell is large enough"),
        ({}, "every worker that offers shell had other work or took none"),
    ],
)
async def test_the_message_says_what_it_waited_for(db, wish, waited):
    await register(db)
    task_id = await overdue(db, **wish)
    await monitor.step(db, SETTINGS)
    assert (await tasks.get(db, task_id)).message == f"not started within 60 s: {waited}"


async def test_a_failed_start_stops_the_siblings_of_a_fail_fast_task(db):
    task_id = await overdue(db, workers=2, on_failure="fail_fast")
    await register(db)
    await claim(db, limit=1)
    await monitor.step(db, SETTINGS)
    assert (await jobs.get(db, task_id, 0)).stop_reason == "sibling_failed"
    await closed(db, finish(task_id, "cancelled"))
    assert await tasks.settle(db, task_id) == "failed"


async def test_a_retry_restarts_the_start_limit(db):
    task_id = await overdue(db)
    await monitor.step(db, SETTINGS)
    assert await tasks.retry(db, task_id)
    await monitor.step(db, SETTINGS)
    task = await tasks.get(db, task_id)
    assert (task.status, (task.start_by - task.created_at).total_seconds() > 50) == ("queued", True)


async def test_the_monitor_settles_it_when_the_replica_died_between_the_statements(db):
    task_id = await overdue(db)
    await jobs.fail_unstarted(db)
    assert await tasks.unsettled(db) == [task_id]
    await monitor.step(db, SETTINGS)
    assert (await tasks.get(db, task_id)).status == "failed"


async def test_a_concurrent_claim_and_expiry_have_one_winner(db):
    await register(db)
    for _ in range(30):
        task_id = await overdue(db)
        claimed, failed = await asyncio.gather(claim(db), jobs.fail_unstarted(db))
        assert len(claimed) + len(failed) == 1
        job = await jobs.get(db, task_id, 0)
        assert (job.status, job.attempt) == (("running", 1) if claimed else ("failed", 0))


async def test_concurrent_monitors_fail_each_job_once(db):
    task_ids = [await overdue(db, workers=50) for _ in range(3)]
    await asyncio.gather(*(monitor.step(db, SETTINGS) for _ in range(4)))
    for task_id in task_ids:
        assert await types(db, task_id) == ["created", *["finished"] * 50, "failed"]
