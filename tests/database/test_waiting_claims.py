"""A waiting claim: once woken it claims by the worker's row as it read it, and reads again when that is outdated."""

import asyncio
import contextlib

import pytest
from support.records import claim, create, register

from app.access.context import Context
from app.health.readiness import Readiness
from app.loops.loop import every
from app.replica.replica import Replica
from app.settings import AppSettings
from db import workers
from db.tokens import TokenRow


@pytest.fixture
async def waiting_claim(db, dsn):
    """Start a claim that waits; nothing but a hint wakes it. ``db`` has a worker ``w1`` with ten slots."""
    replica = Replica(AppSettings(dsn=dsn, poll_seconds=60), db, Readiness())
    loops = [
        asyncio.create_task(replica.listener.run()),
        asyncio.create_task(every(0, replica.services.claim_waiters.watch, name="claim waiters")),
    ]
    session = await register(db, slots=10)
    admin = TokenRow("t", "admin", None, None, None, None, None, None, True)
    procedure = replica.registry.procedures["workers.claim"]
    value = procedure.decode({"workerId": "w1", "session": session, "limit": 1, "waitSeconds": 20})
    waiting = asyncio.create_task(procedure.handler(Context(replica.services, admin, ""), *value))
    async with asyncio.timeout(60):
        while not (
            replica.listener.connected and any(each.is_waiting for each in replica.services.claim_waiters._claims)
        ):
            await asyncio.sleep(0.005)
    yield waiting
    for task in (waiting, *loops):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(waiting, *loops)


async def test_a_waiting_claim_gets_the_job_that_wakes_it(db, waiting_claim):
    task_id = await create(db)
    async with asyncio.timeout(60):
        answer = await waiting_claim
    assert [job.job_id for job in answer.jobs] == [f"task-{task_id}/0"]


async def test_a_waiting_claim_that_lost_a_race_retries_and_gets_a_job(db, waiting_claim):
    assert await claim(db) == []  # of the same worker, which counts its claims
    task_id = await create(db)
    async with asyncio.timeout(60):
        answer = await waiting_claim
    assert [job.job_id for job in answer.jobs] == [f"task-{task_id}/0"]


async def test_a_waiting_claim_of_a_worker_that_drains_gets_nothing(db, waiting_claim):
    await workers.drain(db, "w1")
    await create(db)
    async with asyncio.timeout(60):
        while (await db._pool.fetch("select claims from ado.workers"))[0]["claims"] < 1:
            await asyncio.sleep(0.005)
    assert (await db._pool.fetch("select status from ado.jobs"))[0]["status"] == "queued"
    assert not waiting_claim.done()
