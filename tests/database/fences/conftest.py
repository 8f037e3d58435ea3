"""Two tasks that two workers run, beside which each write is tried, and a transaction that stays open."""

import asyncpg
import pytest
from support.records import claim, create, register


@pytest.fixture(autouse=True)
async def world(db):
    """Worker w1 runs the jobs 0 and 1 of task 1, w2 job 2 of task 1 and job 0 of task 2; job 1 of task 2 waits."""
    await create(db, workers=3)
    await create(db, workers=2)
    for worker_id, limit in (("w1", 2), ("w2", 2)):
        await register(db, worker_id)
        assert len(await claim(db, worker_id, limit=limit)) == 2


@pytest.fixture
async def own(dsn):
    """Run statements in a transaction of a connection of its own, which stays open."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("begin")
    yield connection.execute
    await connection.close()
