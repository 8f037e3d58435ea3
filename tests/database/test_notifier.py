"""Listeners get hints about committed changes; a lost hint costs only time."""

import asyncio
import contextlib

import asyncpg
from support.records import claim, closed, create, finish, new_task, register

from db import tasks
from db.hints import parse
from db.listener import CHANNEL
from db.queries import load


@contextlib.asynccontextmanager
async def listening(dsn, channel=CHANNEL):
    heard = []
    connection = await asyncpg.connect(dsn)
    await connection.add_listener(channel, lambda *notice: heard.append(notice[3].split(" ")))
    try:
        yield heard
    finally:
        await connection.close()


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
        assert len(heard) == 2


async def test_events_travel_with_the_hint_of_their_statement_and_only_on_the_secret_channel(db, dsn):
    secret = await db._pool.fetch("select name from ado.live_channel")
    async with listening(dsn) as heard, listening(dsn, secret[0]["name"]) as live:
        db.notify_live("too late for its hint")
        db.notify("e:1:7")
        for number in range(100):
            db.notify_live(f"{number}")
        await until(lambda: heard and len(live) >= 32)  # two connections, which hear at different times
        assert heard == [["e:1:7"]]
        assert live == [[f"{number}"] for number in range(32)]
    assert await db._pool.fetch("delete from ado.live_channel returning name") == secret
    async with listening(dsn) as heard:
        db.notify("q:1")
        db.notify_live("nobody may get this")
        await until(lambda: heard)


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


async def test_no_statement_that_changes_data_notifies():
    """A commit that notifies fails when the queue of notifications is full."""
    assert [name for name, query in load().items() if "pg_notify" in query.named] == ["notify"]


async def test_a_listener_without_notifications_misses_no_event(db, dsn):
    task_id = await create(db)
    await register(db)
    await claim(db)
    notifying = "from pg_stat_activity where query like 'select (select count(pg_notify%'"

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
