"""The listening connection reports a gap once after each reconnect."""

import asyncio

import pytest

from db import events
from db.listener import Listener


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def heard(dsn):
    """What a listener reports: a list of hints, the text of events, or None for a gap."""
    told = []
    listener = Listener(dsn, told.append, lambda: told.append(None), told.append, check_seconds=0.05)
    listening = asyncio.create_task(listener.run())
    try:
        await until(lambda: told)
        yield told
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_each_new_connection_reports_a_gap_and_receives_later_hints(db, heard):
    assert heard == [None]
    ours = "datname = current_database() and application_name = 'ado-listen'"
    await db._pool.fetch(f"select pg_terminate_backend(pid) from pg_stat_activity where {ours}")
    await until(lambda: len(heard) == 2)
    await db._pool.fetch("select pg_notify('ado', 'e:1:2 q:1')")
    await until(lambda: len(heard) == 3)
    assert heard == [None, None, ["e:1:2", "q:1"]]


async def test_events_arrive_on_the_channel_of_the_day_and_no_longer_on_that_of_the_day_before(db, heard):
    async def send(payload):
        await db._pool.fetch("select pg_notify(name, $1) from ado.live_channel", payload)

    async def channel():
        return (await db._pool.fetch("select name from ado.live_channel"))[0]["name"]

    before = await channel()
    await send("first")
    await until(lambda: heard == [None, "first"])
    await events.rename_live_channel(db)
    assert await channel() == before
    await db._pool.fetch("update ado.live_channel set made_at = now() - interval '25 hours'")
    await events.rename_live_channel(db)
    await events.rename_live_channel(db)
    after = await channel()
    assert after != before
    async with asyncio.timeout(20):
        while heard[-1] != "second":
            await send("second")
            await asyncio.sleep(0.02)
    await db._pool.fetch("select pg_notify($1, 'of yesterday')", before)
    await db._pool.fetch("select pg_notify('ado', 'q:1')")
    await until(lambda: heard[-1] == ["q:1"])
    assert "of yesterday" not in heard


async def test_a_login_that_may_not_read_the_channels_name_gets_hints_alone(db, dsn):
    heard = []
    listener = Listener(f"{dsn}&role=ado_readonly", heard.append, lambda: None, heard.append)
    listening = asyncio.create_task(listener.run())
    try:
        async with asyncio.timeout(20):
            while not heard:
                await db._pool.fetch("select pg_notify(name, 'secret') from ado.live_channel")
                await db._pool.fetch("select pg_notify('ado', 'q:1')")
                await asyncio.sleep(0.02)
        assert all(hints == ["q:1"] for hints in heard)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
