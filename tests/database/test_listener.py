"""The listening connection reports a gap once after each reconnect."""

import asyncio
import contextlib

import pytest

from db import events
from db.listener import Listener


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def listening(dsn, **options):
    """Give what a listener reports: a list of hints, the text of events, or None for a gap."""
    heard = []
    listener = asyncio.create_task(
        Listener(dsn, heard.append, lambda: heard.append(None), heard.append, **options).run()
    )
    try:
        await until(lambda: heard)
        yield heard
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


@pytest.fixture
async def heard(dsn):
    async with listening(dsn) as reports:
        yield reports


async def test_each_new_connection_reports_a_gap_and_receives_later_hints(db, heard):
    assert heard == [None]
    ours = "datname = current_database() and application_name = 'ado-listen'"
    await db._pool.fetch(f"select pg_terminate_backend(pid) from pg_stat_activity where {ours}")
    await until(lambda: len(heard) == 2)
    await db._pool.fetch("select pg_notify('ado', 'e:1:2 q:1')")
    await until(lambda: len(heard) == 3)
    assert heard == [None, None, ["e:1:2", "q:1"]]


async def test_events_arrive_on_the_channel_of_the_day_and_no_longer_on_that_of_the_day_before(db, dsn):
    async def channel():
        return (await db._pool.fetch("select name from ado.live_channel"))[0]["name"]

    async def send_until_heard(payload):
        async with asyncio.timeout(60):
            while payload not in heard:
                await db._pool.fetch("select pg_notify(name, $1) from ado.live_channel", payload)
                await asyncio.sleep(0.02)

    async with listening(dsn, check_seconds=0.5) as heard:
        before = await channel()
        await send_until_heard("first")
        await events.rename_live_channel(db)
        assert await channel() == before
        await db._pool.fetch("update ado.live_channel set made_at = now() - interval '25 hours'")
        await events.rename_live_channel(db)
        await events.rename_live_channel(db)
        after = await channel()
        assert after != before
        await send_until_heard("second")
        await db._pool.fetch("select pg_notify($1, 'of yesterday')", before)
        await send_until_heard("third")
        assert "of yesterday" not in heard


async def test_a_login_that_may_not_read_the_channels_name_gets_hints_alone(db, dsn):
    async with listening(f"{dsn}&role=ado_readonly") as heard, asyncio.timeout(60):
        while ["q:1"] not in heard:
            await db._pool.fetch("select pg_notify(name, 'secret') from ado.live_channel")
            await db._pool.fetch("select pg_notify('ado', 'q:1')")
            await asyncio.sleep(0.02)
        assert "secret" not in heard
