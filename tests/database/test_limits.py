"""Jobs that are handed back for a rate limit wait in the queue until it is over, and only so often."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from support.records import LEASE, SUSPECT, append, batch, claim, closed, create, finish, register

from db import jobs, tasks, workers
from db.events import NewEvent


@pytest.fixture
async def running(db):
    task_id = await create(db, workers=2)
    await register(db)
    await claim(db)
    return task_id


def handed_back(task_id, seconds, *, attempt=1, reason="rate_limit", outcome="released"):
    return replace(finish(task_id, outcome, attempt=attempt, reason=reason), after_seconds=seconds)


async def delay(db, task_id, job=0):
    (row,) = await db._pool.fetch(
        "select extract(epoch from run_after - now())::float8, failures from ado.jobs where task_id = $1 and job = $2",
        task_id, job,
    )  # fmt: skip
    assert row["failures"] == 0
    return row[0]


async def test_a_job_is_not_claimed_before_its_limit_is_over(db, running):
    job, _ = await closed(db, handed_back(running, 3600.0))
    assert (job.status, job.reason) == ("queued", "rate_limit")
    assert await delay(db, running) == pytest.approx(3600, abs=60)
    assert await claim(db) == []
    stored = (await tasks.get(db, running)).jobs[0]
    assert stored.retry_at - datetime.now(UTC) == pytest.approx(timedelta(hours=1), abs=timedelta(minutes=1))
    assert {obstacle.unmet for obstacle in await tasks.obstacles(db, running)} == {"retry_delay"}
    await db._pool.fetch("update ado.jobs set run_after = now() where task_id = $1", running)
    assert [job.attempt for job in await claim(db)] == [2]


@pytest.mark.parametrize(
    ("outcome", "reason"), [("released", "shutdown"), ("released", "question"), ("failed", "rate_limit")]
)
async def test_only_a_limit_delays_a_job(db, outcome, reason):
    task_id = await create(db, retries=1)
    await register(db)
    await claim(db)
    await closed(db, handed_back(task_id, 3600.0, outcome=outcome, reason=reason))
    (row,) = await db._pool.fetch("select run_after <= now() + interval '1 minute' from ado.jobs")
    assert row[0]


async def test_a_job_is_handed_back_for_limits_only_so_often(db):
    await workers.monitor_tick(db, heartbeat=5, suspect=SUSPECT, lease=LEASE, losses=100, attempts=2)
    task_id = await create(db)
    await register(db)
    await claim(db)
    await closed(db, handed_back(task_id, 0.0))
    await claim(db)
    job, _ = await closed(db, handed_back(task_id, 3600.0, attempt=2))
    assert (job.status, job.reason) == ("failed", "too_many_attempts")
    assert job.message.endswith("the last one: rate_limit")


async def limited(db, task_id, number, until, *, job=0, attempt=1):
    body = orjson.dumps({"agent": "shell", "until": until, "seconds": 1}).decode()
    event = NewEvent("rate_limited", None, datetime.now(UTC), None, body)
    written = replace(batch(task_id, number, job=job, attempt=attempt), events=[event])
    assert await append(db, [written], output_limit=10**9, lease_seconds=LEASE) == [True]


async def test_running_jobs_tell_until_when_they_wait(db, running):
    end = datetime.now(UTC) + timedelta(hours=1)
    assert await tasks.limit_ends(db, running) == {}
    await limited(db, running, 1, "soon")
    await limited(db, running, 2, end.isoformat())
    await limited(db, running, 1, (end - timedelta(hours=2)).isoformat(), job=1)
    assert await tasks.limit_ends(db, running) == {0: end}
    await limited(db, running, 3, "2030-01-01T00:00:00")  # without a zone
    assert await tasks.limit_ends(db, running) == {}
    await limited(db, running, 4, end.isoformat())
    await closed(db, handed_back(running, 0.0))
    assert await tasks.limit_ends(db, running) == {}
    await claim(db)
    assert await tasks.limit_ends(db, running) == {}  # it was the wait of an earlier attempt


async def test_no_attempt_is_handed_back_twice(db, running):
    assert await closed(db, handed_back(running, 5.0))
    assert await closed(db, handed_back(running, 3600.0)) is None
    assert await delay(db, running) < 60
    assert await jobs.get(db, running, 0)
