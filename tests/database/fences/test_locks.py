"""What a write must not wait for."""

import asyncio

import pytest
from support.fences import REQUEST, answer, ask, beat, claimed, raw, send, until_blocked
from support.records import LEASE, append, batch, closed, finish, register

from db import jobs, messages, tasks
from db.model import HeldAttempt


async def ask_and_answer(db):
    return await answer(db, await ask(db))


WRITES = {
    "finish": lambda db: closed(db, finish(1)),
    "end": lambda db: jobs.end_attempts(db, [(1, 0, 1)], reason="lost", loss=True),
    "append": lambda db: append(db, [batch(1)], LEASE),
    "heartbeat": lambda db: beat(db, listed=[(1, 0, 1)]),
    "receipt": lambda db: messages.deliver(db, HeldAttempt(1, 0, 1, "w1", None), [1]),
    "question and answer": ask_and_answer,
    "new priority": lambda db: tasks.update(db, 1, 1, 7, None),
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_waits_for_no_other_task(db, own, name):
    await send(db, 1, [(1, 0)])
    await own("select from ado.jobs where task_id = 2 for update")
    await own("select from ado.task_logs where task_id = 2 for update")
    async with asyncio.timeout(60):
        assert await WRITES[name](db)


async def test_a_claim_waits_for_no_other_task_and_for_no_change_of_its_running_task(db, own):
    await register(db, "w3")
    await own("select from ado.task_logs where task_id = 1 for update")
    await own("select from ado.tasks for no key update")
    async with asyncio.timeout(60):
        assert await claimed(db, "w3") == [(2, 1)]


async def test_a_remembered_answer_waits_for_no_job_whose_request_has_an_answer(db, own):
    asked, answered = await ask(db, **REQUEST), await ask(db, 1, 1, **REQUEST)
    await answer(db, answered)
    await own("select from ado.jobs where task_id = 1 and job = 1 for update")
    async with asyncio.timeout(60):
        assert await answer(db, asked, remember=True)


async def test_new_labels_wait_for_no_job(db, own):
    await own("select from ado.jobs where task_id = 1 for update")
    async with asyncio.timeout(60):
        assert await tasks.update(db, 1, 1, None, {"a": "b"})


JOBS_FIRST = {
    "cancel": ("ado.task_logs", lambda db: tasks.cancel(db, 1, None)),
    "new priority": ("ado.tasks", lambda db: tasks.update(db, 1, 1, 7, None)),
}


@pytest.mark.parametrize("name", JOBS_FIRST)
async def test_jobs_are_locked_before_what_belongs_to_their_task(db, own, name):
    """So no two statements can wait for each other."""
    table, write = JOBS_FIRST[name]
    await own("select from ado.jobs where task_id = 1 for update")
    writing = asyncio.create_task(write(db))
    await until_blocked(db)
    await raw(db, f"select from {table} where task_id = 1 for update nowait")
    await own("commit")
    await writing
