"""Listeners get hints about committed changes; a lost hint costs only time."""

import asyncio
import contextlib

import asyncpg
from support.records import LEASE, append, batch, claim, closed, create, finish, new_task, register

from app.log.encode import encode_all
from app.log.live import pack, unpack
from db import events, tasks
from db.hints import parse
from db.listener import CHANNEL
from db.queries import load


@contextlib.asynccontextmanager
async def closing(dsn):
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def listening(dsn, channel=CHANNEL):
    heard = []
    async with closing(dsn) as connection:
        await connection.add_listener(channel, lambda *notice: heard.append(notice[3].split(" ")))
        yield heard


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_every_step_of_a_job_sends_a_hint(db, dsn):
    async with listening(dsn) as heard:
        task_id = await create(db)
        await register(db)
        await claim(db)
        await closed(db, finish(task_id))
        await tasks.settle(db, task_id)
        await until(lambda: {"q:1", f"e:{task_id}:4"} <= {hint for hints in heard for hint in hints})


async def test_changes_during_a_notification_share_the_next_one(db, dsn, monkeypatch):
    pool, may_notify = db._notifier._pool, asyncio.Event()
    fetch = pool.fetch

    async def fetch_later(*arguments):
        await may_notify.wait()
        return await fetch(*arguments)

    monkeypatch.setattr(pool, "fetch", fetch_later)
    async with listening(dsn) as heard:
        task_id = await create(db, workers=300)
        await register(db, slots=300)
        await claim(db, limit=300)
        await asyncio.gather(*(closed(db, finish(task_id, job=job)) for job in range(300)))
        may_notify.set()
        await until(lambda: f"e:{task_id}:601" in {hint for hints in heard for hint in hints})
        assert len(heard) == 3  # that of the creation, which was alone, went with its commit


@contextlib.asynccontextmanager
async def appending(db, dsn, monkeypatch):
    """Give a task with a running job, and what is heard of it; hints are not sent after commits."""
    task_id = await create(db)
    await register(db)
    await claim(db)
    await db._notifier.close()

    async def refuse(*_):
        raise OSError

    monkeypatch.setattr(db._notifier._pool, "fetch", refuse)
    ((secret,),) = await db._pool.fetch("select name from ado.live_channel")
    async with listening(dsn) as heard, listening(dsn, secret) as live:
        yield task_id, heard, live


async def test_an_append_that_is_alone_notifies_within_its_commit(db, dsn, monkeypatch):
    async with appending(db, dsn, monkeypatch) as (task_id, heard, live):
        given = batch(task_id, data=b"\xff\0")
        assert await append(db, [given], LEASE, live=pack(given)) == [True]
        assert await append(db, [given], LEASE, live="of a batch that was stored before") == [False]
        assert await append(db, [batch(task_id, 2)], LEASE) == [True]
        await until(lambda: len(heard) == 2 and live)  # two connections, which hear at different times
        assert heard == [[f"e:{task_id}:3"], [f"e:{task_id}:4"]]
        page = await events.page(db, task_id, 2, row_limit=1, byte_limit=10**6)
        assert [unpack(" ".join(payload)).entries for payload in live] == [encode_all(page.events)]
        assert unpack(" ".join(live[0])).stored_at == page.events[0].stored_at


async def test_one_commit_at_a_time_notifies(db, dsn, monkeypatch):
    """It holds a lock of the whole server. The others leave their hint to the notifier."""
    left = []
    async with appending(db, dsn, monkeypatch) as (task_id, heard, live), closing(dsn) as other:
        monkeypatch.setattr(db._notifier, "notify", left.extend)
        await other.execute("begin")
        assert await other.fetchval("select ado.announce('q:1')")
        given = batch(task_id)
        assert await append(db, [given], LEASE, live=pack(given)) == [True]
        assert left == [f"e:{task_id}:3"]
        await other.execute("commit")
        await until(lambda: heard)
        assert (heard, live) == ([["q:1"]], [])


async def test_without_its_channel_no_event_travels(db, dsn, monkeypatch):
    async with appending(db, dsn, monkeypatch) as (task_id, heard, live):
        await db._pool.fetch("delete from ado.live_channel")
        assert await append(db, [batch(task_id)], LEASE, live="for nobody") == [True]
        await until(lambda: heard)
        assert (heard, live) == ([[f"e:{task_id}:3"]], [])


async def test_tasks_created_together_share_one_notification(db, dsn):
    async with listening(dsn) as heard:
        made = await tasks.create_all(db, [new_task(), new_task(workers=3)])
        await until(lambda: heard)
        assert heard == [["q:3", *(f"e:{task.task_id}:1" for task in made)]]


async def test_one_cancel_notifies_a_thousand_workers(db, dsn):
    names = [f"ado-task-123-{number}-d1000 %20" for number in range(1000)]
    task_id = await create(db, workers=1000)
    for name in names:
        await register(db, name, slots=1)
        assert await claim(db, name, limit=1)
    async with listening(dsn) as heard:
        await tasks.cancel(db, task_id, None)
        wanted = {f"w:{name}" for name in names}
        await until(lambda: wanted <= {hint for payload in heard for hint in parse(" ".join(payload))})
    assert (await tasks.get(db, task_id)).cancel_requested_at is not None


async def test_only_statements_that_are_repeated_without_it_notify_with_a_change():
    """A commit that notifies fails when the queue of notifications is full."""
    assert [name for name, query in load().items() if "pg_notify" in query.named] == ["notify"]
    announcing = [name for name, query in load().items() if "ado.announce" in query.named]
    assert announcing == ["append_batch", "create_tasks"]


async def test_a_listener_without_notifications_misses_no_event(db, dsn):
    task_id = await create(db)
    await register(db)
    await claim(db)
    ours = "datname = current_database() and query like 'select pg_notify(%'"
    notifying = f"from pg_stat_activity where {ours}"  # the replicas of other tests notify on this server, too

    async def told():
        return [row["pid"] for row in await db._pool.fetch(f"select pid {notifying}")]

    async with asyncio.timeout(60):
        while not await told():
            await asyncio.sleep(0.005)
    await db._pool.fetch(f"select pg_terminate_backend(pid) {notifying}")
    assert (await closed(db, finish(task_id)))[0].status == "succeeded"
    async with listening(dsn) as heard:
        assert await tasks.settle(db, task_id) == "succeeded"
        await until(lambda: any(f"e:{task_id}:4" in hints for hints in heard))


async def test_a_task_that_is_created_alone_notifies_within_its_commit(db, dsn, monkeypatch):
    left = []
    async with listening(dsn) as heard:
        monkeypatch.setattr(db._notifier, "notify", left.extend)
        task_id = await create(db, workers=3)
        await until(lambda: heard)
        assert (heard, left) == ([["q:3", f"e:{task_id}:1"]], [])
        made = await tasks.create_all(db, [new_task(), new_task()])
        assert left == [hint for task in made for hint in ("q:1", f"e:{task.task_id}:1")]
