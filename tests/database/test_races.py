"""Rival transitions through the pools of two replicas, in an order that a seed decides: the task ends once, rightly."""

import asyncio
import json
import random

import pytest
from support.records import LEASE, append, batch, claim, closed, create, finish, register

from db import events, jobs, tasks, workers
from db.database import Database

TERMINAL = ("succeeded", "failed", "cancelled")
SEEDS, AT_ONCE = 200, 25


@pytest.fixture
async def other(dsn):
    """The database as a second replica sees it."""
    opened = await Database.open(dsn, size=8)
    yield opened
    await opened.close()


class Race:
    """One task of three jobs, two of them running, and what rivals do to it."""

    def __init__(self, pools, task_id, rng):
        self._pools = pools
        self._task_id = task_id
        self._rng = rng

    @property
    def _db(self):
        return self._rng.choice(self._pools)

    async def run(self):
        rivals = [
            *(self._cancel, self._cancel, self._retry, self._retry, self._time_out, self._settle, self._beat),
            *(self._claim, self._claim, self._lose, self._lose, self._release, self._forget_claim, self._append),
            *(lambda: self._finish(0), lambda: self._finish(1), lambda: self._finish(1)),
            *(self._pause, self._pause, self._resume),
        ]
        chosen = self._rng.sample(rivals, self._rng.randint(5, len(rivals)))
        await asyncio.gather(*(self._later(rival) for rival in chosen))

    async def _later(self, rival):
        await asyncio.sleep(self._rng.random() * 0.01)
        await rival()

    async def _cancel(self):
        await tasks.cancel(self._db, self._task_id, None)

    async def _retry(self):
        await tasks.retry(self._db, self._task_id)

    async def _pause(self):
        await tasks.pause(self._db, self._task_id, None)

    async def _resume(self):
        await tasks.resume(self._db, self._task_id)

    async def _time_out(self):
        await jobs.time_out(self._db)

    async def _settle(self):
        await tasks.after_failure(self._db, self._task_id)

    async def _claim(self):
        await claim(self._db, self._rng.choice(["w1", "w2"]))

    async def _finish(self, job):
        outcome = self._rng.choice(["succeeded", "failed", "failed", "cancelled"])
        await self._close(job, self._rng.choice([1, 1, 2]), outcome)

    async def _release(self):
        await self._close(self._rng.choice([0, 1]), self._rng.choice([1, 2]), "released")

    async def _close(self, job, attempt, outcome):
        report = finish(
            self._task_id, outcome, job=job, attempt=attempt, worker_id=self._rng.choice(["w1", "w1", "w2"])
        )
        await closed(self._db, report)
        await tasks.after_failure(self._db, self._task_id)

    async def _lose(self):
        keys = [(self._task_id, self._rng.choice([0, 1]), self._rng.choice([1, 1, 2, 3]))]
        await jobs.end_attempts(self._db, keys, reason="lost", loss=True)

    async def _forget_claim(self):
        await jobs.end_attempts(self._db, [(self._task_id, 0, 1)], reason="claim_lost", loss=False)

    async def _append(self):
        await append(self._db, [batch(self._task_id, job=self._rng.choice([0, 1]), events=2)], LEASE)

    async def _beat(self):
        await workers.heartbeat(
            self._db,
            worker_id="w1",
            session="session-w1-i1",
            listed=[(self._task_id, 0, 1)],
            load=None,
            at=None,
            stopped=False,
            lease_seconds=LEASE,
        )


async def end(db, task_id):
    """Let the workers finish what is left, as they would."""
    for _ in range(20):
        await tasks.resume(db, task_id)
        await db._pool.fetch("update ado.jobs set run_after = now() where status = 'queued'")
        await claim(db, "w2")
        for worker_id in ("w1", "w2"):
            for key in await jobs.held(db, worker_id):
                await closed(db, finish(key[0], job=key[1], attempt=key[2], worker_id=worker_id))
        await tasks.after_failure(db, task_id)
        if (await tasks.get(db, task_id)).status in TERMINAL:
            return
    raise AssertionError(f"task {task_id} does not end")


def check(log):
    """Walk through a log as the one history it must be: every job from state to state, one verdict an epoch."""
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    states = dict.fromkeys(range(3), ("queued", 0))
    outcomes, cancelled, ended = {}, False, None
    pausing = set()
    for event in log:
        body = json.loads(event.body or "{}")
        job, kind = event.job, event.type
        assert ended is None or kind == "retried", f"{kind} after the verdict"
        if kind == "paused":
            pausing |= {index for index, (state, _) in states.items() if state == "running"}
            states |= {index: ("paused", number) for index, (state, number) in states.items() if state == "queued"}
        elif kind == "resumed":
            pausing.clear()
            states |= {index: ("queued", number) for index, (state, number) in states.items() if state == "paused"}
        if kind == "started":
            assert not cancelled, "a cancel is sticky"
            assert states[job] == ("queued", event.attempt - 1)
            states[job] = ("running", event.attempt)
        elif kind in ("requeued", "released"):
            assert states[job] == ("running", event.attempt)
            assert body.get("paused", False) == (job in pausing)
            states[job] = ("paused" if job in pausing else "queued", event.attempt)
            pausing.discard(job)
        elif kind == "output":
            assert states[job] == ("running", event.attempt)
        elif kind == "finished":
            assert states[job][0] in ("queued", "running", "paused")
            pausing.discard(job)
            assert states[job][1] == (event.attempt or 0)
            states[job] = ("ended", states[job][1])
            outcomes[job] = body["outcome"]
        elif kind == "cancel_requested":
            assert not cancelled
            cancelled = True
        elif kind == "retried":
            assert all(states[index][0] == "ended" for index in body["jobs"])
            states |= {index: ("queued", states[index][1]) for index in body["jobs"]}
            cancelled, ended = False, None
        elif kind in TERMINAL:
            assert all(state == "ended" for state, _ in states.values())
            worst = next(status for status in ("failed", "cancelled", "succeeded") if status in outcomes.values())
            assert kind == worst
            ended = kind
    assert ended is not None
    return ended


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
async def test_concurrent_ends_of_a_task_write_one_terminal_event(db, other, first):
    """Cancel, pause, finish, release, loss, claim, retry and time-out at the same moment, two hundred times."""
    await register(db, "w1", slots=100_000)
    await register(db, "w2", slots=100_000)
    for seed in range(first, first + AT_ONCE):
        rng = random.Random(seed)
        await db._pool.fetch("update ado.workers set last_heartbeat_at = now()")  # many races may take long
        task_id = await create(
            db,
            workers=3,
            retries=rng.choice([0, 1]),
            timeout_seconds=rng.choice([None, None, 0.001]),
            on_failure=rng.choice(["continue", "fail_fast"]),
        )
        await claim(db, "w1", limit=2)
        try:
            await Race([db, other], task_id, rng).run()
            await end(db, task_id)
            log = (await events.page(db, task_id, 0, row_limit=10_000, byte_limit=1 << 30)).events
            assert check(log) == (await tasks.get(db, task_id)).status
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


async def test_a_cancel_covers_jobs_that_a_concurrent_retry_queued(db, other):
    """The cancel waits for the retry at the rows of the jobs, and then stops the job that the retry has queued."""
    task_id = await create(db, workers=2)
    await register(db)
    await claim(db)
    await closed(db, finish(task_id, "failed", job=0))
    async with db._pool._pool.acquire() as connection, connection.transaction():
        await connection.execute("select 1 from ado.task_logs where task_id = $1 for update", task_id)
        retrying = asyncio.create_task(tasks.retry(other, task_id))
        await blocked(db, 1)
        cancelling = asyncio.create_task(tasks.cancel(other, task_id, None))
        await blocked(db, 2)
    assert await retrying
    await cancelling
    task = await tasks.get(db, task_id)
    assert [(job.status, job.attempt) for job in task.jobs] == [("cancelled", 1), ("running", 1)]
    assert await claim(db) == []


async def test_a_claim_takes_a_job_that_a_retry_queued_after_the_claim_began(db, other):
    """Both began before either could go on, so what the claim saw of the job is older than what the queue says then."""
    task_id = await create(db)
    await register(db)
    await claim(db)
    await closed(db, finish(task_id, "failed"))
    await tasks.settle(db, task_id)
    async with db._pool._pool.acquire() as worker, worker.transaction():
        await worker.execute("select 1 from ado.workers for update")
        async with db._pool._pool.acquire() as log, log.transaction():
            await log.execute("select 1 from ado.task_logs for update")
            retrying = asyncio.create_task(tasks.retry(db, task_id))
            await blocked(db, 1)
            claiming = asyncio.create_task(claim(other))
            await blocked(db, 2)
        assert await retrying
    assert [(job.task_id, job.attempt) for job in await claiming] == [(task_id, 2)]
    job = await jobs.get(db, task_id, 0)
    assert (job.status, job.finished_at, job.reason) == ("running", None, None)
    assert (await tasks.get(db, task_id)).status == "running"


async def blocked(db, count):
    """Wait until so many statements wait for a lock."""
    ask = "select count(*) as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while (await db._pool.fetch(ask))[0]["n"] < count:
        await asyncio.sleep(0.01)
