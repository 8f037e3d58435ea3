"""How a statement fails."""

import asyncio
from types import SimpleNamespace

import pytest

from db.database import Database
from db.errors import DatabaseUnavailable


async def test_a_statement_that_the_driver_cancels_fails_like_one_whose_connection_broke():
    async def fetch(*_):
        raise asyncio.CancelledError

    with pytest.raises(DatabaseUnavailable, match="the driver gave up"):
        await Database(SimpleNamespace(fetch=fetch), None).many("database_time")


async def test_a_caller_that_is_cancelled_is_cancelled():
    begun = asyncio.Event()

    async def fetch(*_):
        begun.set()
        await asyncio.Event().wait()

    calling = asyncio.create_task(Database(SimpleNamespace(fetch=fetch), None).many("database_time"))
    await asyncio.wait_for(begun.wait(), 60)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
