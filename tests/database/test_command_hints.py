"""A command whose hint was lost reaches its worker's stream within a poll interval."""

import asyncio
from types import SimpleNamespace

import pytest
from support.records import claim, closed, create, finish, register

from app.log.hub import Hub
from app.loops.command_poll import CommandPoll
from app.procedures.commands import SessionInput, commands
from db import jobs, messages, tasks, workers


@pytest.fixture
async def poll(db):
    hub = Hub()
    with hub.waiting(("w", "w1")) as stream, hub.waiting(("w", "w2")) as other:
        await register(db)
        await register(db, "w2")
        poll = CommandPoll(db, hub)

        async def woken():
            """Look once; whether the stream of w1 was woken. That of w2 never is."""
            await poll.step()
            assert not await other.wait(0)
            return await stream.wait(0)

        yield woken


async def test_a_lost_attempt_wakes_the_stream_of_the_worker_that_held_it(db, poll):
    task_id = await create(db)
    await claim(db)
    assert not await poll()
    await jobs.end_attempts(db, [(task_id, 0, 1)], reason="lost", loss=True)
    assert await poll()
    assert not await poll()  # told once


async def test_a_job_claimed_by_another_worker_wakes_the_first_worker(db, poll):
    task_id = await create(db)
    await claim(db)
    assert not await poll()
    await jobs.end_attempts(db, [(task_id, 0, 1)], reason="lost", loss=True)
    assert await claim(db, "w2")
    assert await poll()


async def test_a_finished_attempt_wakes_no_worker(db, poll):
    task_id = await create(db)
    await claim(db)
    assert not await poll()
    await closed(db, finish(task_id))
    assert not await poll()


async def test_a_cancel_and_a_drain_wake_the_stream(db, poll):
    task_id = await create(db)
    await claim(db)
    assert not await poll()
    await tasks.pause(db, task_id, None)
    assert await poll()
    await tasks.cancel(db, task_id, None)
    assert await poll()
    await closed(db, finish(task_id, "cancelled"))
    assert not await poll()
    await workers.drain(db, "w1")
    assert await poll()


async def test_a_command_that_stays_open_wakes_its_stream_once(db, poll):
    """Each of a thousand streams would read the tables at each poll until its worker has stopped its agent."""
    task_id = await create(db)
    await claim(db)
    await workers.drain(db, "w1")
    await tasks.cancel(db, task_id, None)
    assert await poll()
    assert not await poll()


async def test_each_message_wakes_the_stream(db, poll):
    task_id = await create(db, agent="scripted")
    await register(db, capabilities=("scripted",))
    await claim(db)
    for text in ("first", "second"):
        await messages.send(db, task_id, None, text, idempotency_key=None, task_limit=9, waiting_limit=9)
        assert await poll()
        assert not await poll()


async def test_a_stream_without_hints_reports_lost_attempts_by_polling(db):
    """The poll that finds the attempt gone has no trace of it any more."""
    hub = Hub()
    poll = CommandPoll(db, hub)
    services = SimpleNamespace(hub=hub, command_poll=poll)
    context = SimpleNamespace(db=db, services=services, caller=SimpleNamespace(role="admin"))
    stream = commands(context, SessionInput("w1", await register(db)))
    sent = []
    async with asyncio.timeout(60):
        for _ in range(2):
            cancelled = await create(db)
            assert await claim(db)
            await tasks.cancel(db, cancelled, None)
            await poll.step()
            sent.append((await anext(stream)).data.type)
        lost = await create(db)
        assert await claim(db)
        await poll.step()
        await jobs.end_attempts(db, [(lost, 0, 1)], reason="lost", loss=True)
        await poll.step()
        last = (await anext(stream)).data
    assert sent == ["cancel", "cancel"]
    assert (last.type, last.job_id, last.attempt) == ("lost", f"task-{lost}/0", 1)
    await stream.aclose()
