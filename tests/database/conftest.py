"""A replica's database, open."""

import pytest

from db.database import Database


@pytest.fixture
async def db(dsn):
    opened = await Database.open(dsn, size=8)
    yield opened
    await opened.close()
