"""The listening connection reports a gap once after each reconnect."""

import asyncio

import pytest

from db.listener import Listener


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def heard(dsn):
    """What a listener reports: a list of hints, or None for a gap."""
    told = []
    listening = asyncio.create_task(Listener(dsn, told.append, lambda: told.append(None)).run())
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
