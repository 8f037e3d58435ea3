"""Attempts that end without a result of the agent are bounded: each job ends, however its attempts do."""

import pytest
from support.records import LEASE, SUSPECT, claim, closed, create, finish, register

from app.loops.monitor import settle_ended
from db import jobs, tasks, workers

LIMIT = 5


@pytest.fixture
async def limited(db):
    """A database whose replicas run with a small limit, a task, and a worker."""
    await workers.monitor_tick(db, heartbeat=5, suspect=SUSPECT, lease=LEASE, losses=100, attempts=LIMIT)
    task_id = await create(db)
    await register(db)
    return task_id


async def interrupt(db, task_id, attempt, how):
    """End an attempt as a worker's release or as the control plane; return the job's status."""
    if how == "released":
        job, _ = await closed(db, finish(task_id, "released", attempt=attempt, reason="shutdown"))
        return job.status
    ended = await jobs.end_attempts(db, [(task_id, 0, attempt)], reason=how, loss=how == "lost")
    await settle_ended(db, ended, how)
    return ended[0].status


async def run_again(db):
    """Claim the job as if its delay had passed; return the delay in seconds, from the moment of the last event on."""
    rows = await db._pool.fetch(
        "select extract(epoch from run_after - (select max(stored_at) from ado.events))::float8 from ado.jobs"
    )
    await db._pool.fetch("update ado.jobs set run_after = now()")
    assert await claim(db)
    return rows[0][0]


@pytest.mark.parametrize("how", ["released", "claim_lost", "lost", "worker_replaced"])
async def test_a_job_fails_at_the_limit_however_its_attempts_end(db, limited, how):
    assert await claim(db)
    for attempt in range(1, LIMIT):
        assert await interrupt(db, limited, attempt, how) == "queued"
        await run_again(db)
    assert await interrupt(db, limited, LIMIT, how) == "failed"
    await tasks.settle(db, limited)
    task = await tasks.get(db, limited)
    assert (task.status, task.reason) == ("failed", "too_many_attempts")
    assert f"{LIMIT} attempts" in task.message
    assert ("shutdown" if how == "released" else how) in task.message


async def test_the_kinds_of_ends_count_together(db, limited):
    assert await claim(db)
    for attempt, how in enumerate(["released", "claim_lost", "lost", "released"], 1):
        assert await interrupt(db, limited, attempt, how) == "queued"
        await run_again(db)
    assert await interrupt(db, limited, LIMIT, "claim_lost") == "failed"


async def test_the_first_two_restarts_have_no_delay_and_later_ones_a_growing_one(db):
    await workers.monitor_tick(db, heartbeat=5, suspect=SUSPECT, lease=LEASE, losses=100, attempts=100)
    task_id = await create(db)
    await register(db)
    assert await claim(db)
    delays = []
    for attempt in range(1, 13):
        assert await interrupt(db, task_id, attempt, "released") == "queued"
        delays.append(await run_again(db))
    assert delays[:2] == [0, 0]
    assert delays[2:] == sorted(delays[2:])
    assert delays[2] >= 1
    assert delays[-1] == 60


async def test_a_manual_retry_resets_the_count_of_interruptions(db, limited):
    assert await claim(db)
    for attempt in range(1, LIMIT):
        await interrupt(db, limited, attempt, "released")
        await run_again(db)
    await interrupt(db, limited, LIMIT, "released")
    await tasks.settle(db, limited)
    assert await tasks.retry(db, limited)
    assert await claim(db)
    assert await interrupt(db, limited, LIMIT + 1, "released") == "queued"


async def test_a_failure_of_the_agent_is_not_an_interruption(db, limited):
    task_id = await create(db, retries=LIMIT + 2)
    for attempt in range(1, LIMIT + 3):
        assert await claim(db)
        job, _ = await closed(db, finish(task_id, "failed", attempt=attempt, reason="exit_nonzero"))
        assert job.status == "queued"
    (row,) = await db._pool.fetch("select interruptions from ado.jobs where task_id = $1", task_id)
    assert row["interruptions"] == 0


async def test_a_cancelled_job_is_cancelled_at_the_limit_too(db, limited):
    assert await claim(db)
    for attempt in range(1, LIMIT):
        await interrupt(db, limited, attempt, "released")
        await run_again(db)
    await tasks.cancel(db, limited, None)
    assert await interrupt(db, limited, LIMIT, "claim_lost") == "cancelled"


async def test_a_job_that_somebody_wants_paused_is_paused_at_the_limit_too(db, limited):
    """The limits may have been lowered meanwhile; the pause counts neither as a loss nor as an interruption."""
    assert await claim(db)
    change = "update ado.jobs set losses = 100, interruptions = $1, pause_requested_at = now()"
    await db._pool.fetch(change, LIMIT)
    assert await interrupt(db, limited, 1, "lost") == "paused"
    (row,) = await db._pool.fetch("select reason, message, losses, interruptions from ado.jobs")
    assert tuple(row) == ("paused", None, 100, LIMIT)
