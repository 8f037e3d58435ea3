"""A full queue of notifications, because a listener sits in a transaction: everything but hints works."""

import asyncio
import contextlib
import time

import psycopg
import pytest
from support.postgres import fast_directory, remove
from support.records import append, batch, claim, closed, create, finish, new_task, register

from db import health, jobs, tasks, workers
from db.connect import run
from db.database import Database
from db.embedded import EmbeddedServer
from db.migrate import migrate
from db.sync_database import SyncPool


@pytest.fixture(scope="module")
def small_queue():
    """A migrated database of a server whose queue of notifications holds 64 pages."""
    directory = fast_directory()
    server = EmbeddedServer(
        directory / "pg", fast=True, settings={"shared_buffers": "64MB", "max_notify_queue_pages": "64"}
    )
    try:
        dsn = server.start()
        migrate(dsn)
        yield dsn
        server.stop()
    finally:
        remove(directory)


def fill(connection):
    for number in range(500):
        connection.execute("select pg_notify('filler', %s)", [str(number) + "x" * 7900])


@contextlib.contextmanager
def full_queue(dsn):
    """Fill the queue for as long as the block runs."""
    with psycopg.connect(dsn, autocommit=True) as held, psycopg.connect(dsn, autocommit=True) as filler:
        held.execute("listen other")
        held.execute("begin")
        held.execute("select 1")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            fill(filler)
        yield
        held.execute("rollback")


async def every_transition(db):
    """Run each statement that has hints once, by way of two tasks."""
    task_id = await create(db, workers=3, on_failure="fail_fast")
    await register(db)
    await workers.scale(db, ["shell"], 0)
    assert len(await claim(db)) == 3
    assert await append(db, [batch(task_id)], 30) == [True]
    assert (await jobs.end_attempts(db, [(task_id, 2, 1)], reason="lost", loss=True))[0].status == "queued"
    assert (await closed(db, finish(task_id, "failed", exit_code=1)))[0].status == "failed"
    await tasks.after_failure(db, task_id)
    assert (await closed(db, finish(task_id, "cancelled", job=1)))[0].status == "cancelled"
    assert await tasks.settle(db, task_id) == "failed"
    assert await tasks.retry(db, task_id)
    await tasks.cancel(db, task_id, None)
    assert (await tasks.get(db, task_id)).status == "cancelled"
    assert await workers.drain(db, "w1")


async def test_every_transition_works_while_the_queue_is_full(small_queue):
    db = await Database.open(small_queue, size=4)
    with full_queue(small_queue):
        await every_transition(db)
        await health.probe(db, "h:x")
    await db.close()


class Counting:
    """A pool that counts what is sent."""

    def __init__(self, pool):
        self._pool = pool
        self.sent = 0
        self.terminate = pool.terminate

    async def fetch(self, *arguments):
        self.sent += 1
        return await self._pool.fetch(*arguments)


async def test_hints_are_tried_at_most_once_a_second_while_the_queue_is_full(small_queue):
    db = await Database.open(small_queue, size=4)
    db._notifier._pool = pool = Counting(db._notifier._pool)
    with full_queue(small_queue):
        began = time.monotonic()
        for _ in range(50):
            assert await tasks.create_all(db, [new_task(), new_task()])
        assert 1 <= pool.sent <= 1 + (time.monotonic() - began)
    await db.close()


async def test_notifying_within_a_commit_is_tried_at_most_once_a_second_while_the_queue_is_full(small_queue):
    db = await Database.open(small_queue, size=4)
    await create(db)
    await register(db, "w2")
    task_id = (await claim(db, "w2", limit=1))[0].task_id
    async with asyncio.timeout(60):
        while db._notifier._sending is not None:
            await asyncio.sleep(0.001)
    db._pool = pool = Counting(db._pool)
    db._notifier._quiet_until = float("-inf")  # the queue may still be full from the test before
    with full_queue(small_queue):
        began = time.monotonic()
        for number in range(1, 101):
            assert await append(db, [batch(task_id, number, worker_id="w2")], 30) == [True]
        assert 101 <= pool.sent <= 101 + (time.monotonic() - began)
    await db._notifier.close()
    await pool._pool.close(5)


def test_a_spawners_transaction_stands_while_the_queue_is_full(small_queue):
    pool = SyncPool(small_queue)
    pool.open()
    with full_queue(small_queue), pool.transaction() as connection:
        run(
            connection, "request_worker", worker_id="w9", capabilities=[], cpu=0, memory=0, gpu=0, slots=1,
            backend="local", host="here",
        )  # fmt: skip
        run(connection, "retire_worker", worker_id="w9", busy=False)
    with pool.transaction() as connection:
        assert connection.execute("select draining from ado.workers where worker_id = 'w9'").fetchall() == [
            {"draining": True}
        ]
    pool.close()
