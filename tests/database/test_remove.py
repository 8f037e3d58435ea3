"""An ended task is removed whole, by one statement; an open one is left as it is."""

import asyncio
import hashlib
import secrets

from support.records import append, batch, claim, closed, create, finish, register

from db import files, tasks

BELONGINGS = (
    "tasks", "jobs", "task_logs", "events", "task_values", "task_environments", "files", "file_chunks",
)  # fmt: skip


async def ended_with_everything(db):
    """A finished task that has a row in every table of ``BELONGINGS``."""
    name = secrets.token_hex(8)
    digest = hashlib.sha256(b"abc").digest()
    await files.begin(db, file_id=name, kind="base", size=3, sha256=digest, about=None, fence=None)
    await db.many("write_chunk", file_id=name, number=0, data=b"abc")
    await db.many("complete_file", file_id=name, actor=None)
    task_id = await create(db, environment={"SECRET": "s"}, base_file=name)
    await register(db)
    await claim(db)
    await append(db, [batch(task_id)], 30)
    await tasks.set_value(db, task_id, "k", 1, version=None, key_limit=10)
    await closed(db, finish(task_id, usage={"costUsd": 1}))
    await tasks.settle(db, task_id)
    return task_id


async def one(db, statement):
    return (await db._pool.fetch(statement))[0][0]


async def counts(db):
    return {name: await one(db, f"select count(*) from ado.{name}") for name in BELONGINGS}


async def test_removing_an_ended_task_keeps_only_its_cost(db):
    task_id = await ended_with_everything(db)
    assert all((await counts(db)).values())
    assert await tasks.remove(db, task_id) == "succeeded"
    assert not any((await counts(db)).values())
    assert await one(db, f"select cost_usd from ado.attempt_usage where task_id = {task_id}") == 1
    assert await tasks.remove(db, task_id) is None


async def test_another_task_keeps_everything(db):
    kept = await ended_with_everything(db)
    before = await counts(db)
    await tasks.remove(db, await ended_with_everything(db))
    assert await counts(db) == before
    assert (await files.listing(db, kept))[0]


async def test_an_open_task_stays(db):
    task_id = await create(db, workers=2)
    assert await tasks.remove(db, task_id) == "queued"
    await register(db)
    await claim(db, limit=1)
    assert await tasks.remove(db, task_id) == "running"
    await tasks.cancel(db, task_id, None)  # one job still runs
    assert await tasks.remove(db, task_id) == "running"
    assert len((await tasks.get(db, task_id)).jobs) == 2


async def test_a_concurrent_removal_and_retry_leave_a_whole_task_or_none(db):
    await register(db)
    for _ in range(20):
        task_id = await create(db, workers=3)
        await tasks.cancel(db, task_id, None)
        retried, found = await asyncio.gather(tasks.retry(db, task_id), tasks.remove(db, task_id))
        task = await tasks.get(db, task_id)
        assert retried == (task is not None) == (found != "cancelled")
        assert task is None or [job.status for job in task.jobs] == ["queued"] * 3
        await tasks.cancel(db, task_id, None)
