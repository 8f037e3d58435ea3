"""Group commit: what the database refuses of one batch is refused for that batch alone."""

import asyncio
from datetime import UTC, datetime

from support.records import LEASE, batch, claim, create, register

from app.log.appender import Appender
from db import events
from db.errors import DatabaseRefused
from db.events import Batch, NewEvent


async def test_a_batch_that_cannot_be_stored_fails_no_other_of_its_flush(db):
    task_ids = [await create(db) for _ in range(3)]
    await register(db)
    await claim(db)
    appender = Appender(db, lanes=1, lease_seconds=LEASE, byte_limit=1 << 20, output_limit=1 << 20)
    poison = Batch(task_ids[1], 0, 1, "w1", 1, [NewEvent("progress", None, datetime.now(UTC), None, "no JSON")])
    waiting = [asyncio.create_task(appender.append(item)) for item in (batch(task_ids[0]), poison, batch(task_ids[2]))]
    stored = await asyncio.gather(*waiting, return_exceptions=True)
    assert [stored[0], stored[2]] == [True, True]
    assert isinstance(stored[1], DatabaseRefused)
    logs = [(await events.page(db, task_id, 0, row_limit=10, byte_limit=1 << 20)).events for task_id in task_ids]
    assert [log[-1].type for log in logs] == ["output", "started", "output"]
