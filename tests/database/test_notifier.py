"""Listeners are told of what is durable; that nobody could tell them costs time and nothing else."""

import asyncio
import contextlib

import asyncpg
from support.records import claim, create, finish, register

from db import jobs, tasks
from db.listener import CHANNEL


@contextlib.asynccontextmanager
async def listening(dsn):
    heard = []
    connection = await asyncpg.connect(dsn)
    await connection.add_listener(CHANNEL, lambda *notice: heard.append(notice[3].split(" ")))
    try:
        yield heard
    finally:
        await connection.close()


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_every_step_of_a_job_is_told(db, dsn):
    async with listening(dsn) as heard:
        task_id = await create(db)
        await register(db)
        await claim(db)
        await jobs.finish(db, finish(task_id))
        await tasks.settle(db, task_id)
        wanted = {"q:1", *(f"e:{task_id}:{seq}" for seq in range(1, 5))}
        await until(lambda: wanted <= {hint for hints in heard for hint in hints})


async def test_what_happens_at_once_is_told_together(db, dsn):
    async with listening(dsn) as heard:
        made = await asyncio.gather(*(create(db) for _ in range(300)))
        wanted = {f"e:{task_id}:1" for task_id in made}
        await until(lambda: wanted <= {hint for hints in heard for hint in hints})
        assert len(heard) < 150


async def test_a_listener_that_cannot_be_told_loses_nothing(db, dsn):
    task_id = await create(db)
    notifying = "from pg_stat_activity where query like '%pg_notify%' and pid <> pg_backend_pid()"
    await db._pool.fetch(f"select pg_terminate_backend(pid) {notifying}")
    await register(db)
    assert [job.task_id for job in await claim(db)] == [task_id]
    async with listening(dsn) as heard:
        later = await create(db)
        await until(lambda: any(f"e:{later}:1" in hints for hints in heard))
