"""What a write must not wait for."""

import asyncio

import pytest
from support.fences import REQUEST, answer, ask, beat, claimed, send
from support.records import LEASE, batch, closed, finish, register

from db import events, jobs, messages
from db.model import HeldAttempt


async def ask_and_answer(db):
    return await answer(db, await ask(db))


WRITES = {
    "finish": lambda db: closed(db, finish(1)),
    "end": lambda db: jobs.end_attempts(db, [(1, 0, 1)], reason="lost", loss=True),
    "append": lambda db: events.append(db, [batch(1)], LEASE),
    "heartbeat": lambda db: beat(db, listed=[(1, 0, 1)]),
    "receipt": lambda db: messages.deliver(db, HeldAttempt(1, 0, 1, "w1", None), [1]),
    "question and answer": ask_and_answer,
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_waits_for_no_other_task(db, own, name):
    await send(db, 1, [(1, 0)])
    await own("select from ado.jobs where task_id = 2 for update")
    await own("select from ado.task_logs where task_id = 2 for update")
    async with asyncio.timeout(5):
        assert await WRITES[name](db)


async def test_a_claim_waits_for_no_other_task_and_for_no_change_of_its_running_task(db, own):
    await register(db, "w3")
    await own("select from ado.task_logs where task_id = 1 for update")
    await own("select from ado.tasks for no key update")
    async with asyncio.timeout(5):
        assert await claimed(db, "w3") == [(2, 1)]


async def test_a_remembered_answer_waits_for_no_job_whose_request_has_an_answer(db, own):
    asked, answered = await ask(db, **REQUEST), await ask(db, 1, 1, **REQUEST)
    await answer(db, answered)
    await own("select from ado.jobs where task_id = 1 and job = 1 for update")
    async with asyncio.timeout(5):
        assert await answer(db, asked, remember=True)
