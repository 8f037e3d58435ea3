"""Which older process a registration replaces, and what of it the new one keeps."""

import asyncio

import pytest
from support.fences import raw, until_blocked

from db import tokens, workers
from db.model import ResourceAmounts
from db.workers import Registration


async def register(db, instance, worker_id="w1", token_id=None):
    """Register with a session of the instance's name; return the session and whether a process was replaced."""
    registration = Registration(
        worker_id=worker_id, instance=instance, capabilities=["shell"], resources=ResourceAmounts(8, 2**34),
        labels={}, slots=10,
    )  # fmt: skip
    return await workers.register(db, registration, instance, token_id=token_id)


async def make_token(db):
    return (await tokens.create(db, tokens.new("worker", worker_id="w1")))["token_id"]


async def test_a_registration_replaces_an_older_process_of_its_own_id_alone(db):
    assert await register(db, "i2") == ("i2", True)
    assert await register(db, "i2") == ("i2", False)
    assert await register(db, "i1", "w3") == ("i1", False)


async def test_a_drain_lasts_for_the_process_that_it_was_meant_for(db):
    await raw(db, "insert into ado.workers (worker_id, session, draining) values ('w3', 's', true)")  # by a spawner
    await raw(db, "update ado.workers set draining = true")
    for worker_id, instance in (("w1", "i1"), ("w2", "i2"), ("w3", "i1")):
        await register(db, instance, worker_id)
    rows = await raw(db, "select worker_id from ado.workers where draining order by 1")
    assert [row["worker_id"] for row in rows] == ["w1", "w3"]


async def test_a_token_of_an_earlier_release_serves_any_process_beside_a_live_one(db):
    token = await make_token(db)
    await raw(db, "update ado.tokens set single = null")
    assert await register(db, "i1", token_id=token)
    await raw(db, "update ado.workers set last_heartbeat_at = now()")
    assert await register(db, "i2", token_id=token) == ("i2", True)


@pytest.mark.parametrize("has_token", [True, False])
async def test_a_worker_is_locked_before_its_token(db, own, has_token):
    """So no two registrations can wait for each other."""
    token = await make_token(db) if has_token else None
    await own("select from ado.workers where worker_id = 'w1' for update")
    registering = asyncio.create_task(register(db, "i2", token_id=token))
    await until_blocked(db)
    await raw(db, "select from ado.tokens for update nowait")
    await own("commit")
    assert await registering == ("i2", True)
