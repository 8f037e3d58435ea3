"""Jobs that are paused for a question: the question stays open, and its end queues the job with the answer."""

import asyncio
import json

import asyncpg
import pytest
from support.records import LEASE, SUSPECT, claim, closed, create, finish, register

from app.loops import monitor
from app.settings import AppSettings
from db import events, jobs, messages, questions, tasks, workers
from db.actor import Actor
from db.model import HeldAttempt
from db.questions import NewQuestion

ANNA = Actor("questions.answer", "user-1", name="anna")
OPTIONS = [{"id": "allow", "label": "Allow"}, {"id": "deny", "label": "Deny"}]


@pytest.fixture
async def running(db):
    task_id = await create(db, agent="scripted")
    await register(db, capabilities=("scripted",))
    await claim(db)
    return task_id


async def ask(db, task_id, key="k", *, attempt=1, tool="Bash", value=1, default=None, timeout=None):
    new = NewQuestion(task_id, 0, attempt, key, "permission", "may I?", OPTIONS, default, timeout, tool, {"a": value})
    return await questions.ask(db, new, 100, HeldAttempt(task_id, 0, attempt, "w1", None))


async def answer(db, question, choice="allow", text=None):
    return await questions.answer(db, question.question_id, choice=choice, text=text, actor=ANNA)


async def hold(db, task_id, attempt=1):
    found = await closed(db, finish(task_id, "released", attempt=attempt, reason="question"))
    await tasks.after_failure(db, task_id)
    return found[0].status


async def step(db):
    await monitor.step(db, AppSettings(dsn="unused"))


async def states(db, task_id):
    task = await tasks.get(db, task_id)
    return task.status, task.jobs[0].status, task.jobs[0].reason


async def words(db, task_id):
    return [text for _, text in await messages.of_job(db, task_id, 0, after=0, undelivered=True, byte_limit=10**6)]


async def log(db, task_id):
    page = await events.page(db, task_id, 0, row_limit=1000, byte_limit=1 << 30)
    return [(event.type, json.loads(event.body or "{}")) for event in page.events]


async def expire(db):
    await db._pool.fetch("update ado.questions set expires_at = now() where state = 'open'")


async def test_a_question_stays_open_while_its_job_is_paused_for_it(db, running):
    question = await ask(db, running)
    assert await hold(db, running) == "paused"
    await step(db)
    assert await states(db, running) == ("paused", "paused", "question")
    assert (await questions.get(db, question.question_id)).state == "open"
    assert await claim(db) == []
    assert (await log(db, running))[-1] == ("released", {"reason": "question", "paused": True})


async def test_the_answer_queues_the_job_and_the_next_attempt_begins_with_it(db, running):
    question = await ask(db, running)
    await hold(db, running)
    assert (await answer(db, question, text="but only once")).state == "answered"
    assert await states(db, running) == ("running", "queued", None)
    (claimed,) = await claim(db)
    assert (claimed.attempt, claimed.messages) == (2, 1)
    assert await words(db, running) == ['Your question "may I?" was answered: Allow: but only once']
    kind, body = (await log(db, running))[-2]
    assert (kind, body["by"]) == ("message", "anna")
    assert await questions.ended(db, "w1") == []  # nobody waits for the answer any more


async def test_the_same_request_of_the_next_attempt_has_the_answer_already(db, running):
    question = await ask(db, running)
    await hold(db, running)
    await answer(db, question, "deny")
    await claim(db)
    again = await ask(db, running, "another key", attempt=2)
    assert (again.question_id, again.choice) == (question.question_id, "deny")
    for other in ({"value": 2}, {"tool": "Edit"}):
        assert (await ask(db, running, f"k {other}", attempt=2, **other)).state == "open"


async def test_an_answer_counts_for_the_next_attempt_only(db, running):
    question = await ask(db, running)
    await hold(db, running)
    await answer(db, question)
    await claim(db)
    await closed(db, finish(running, "released", attempt=2, reason="shutdown"))
    await claim(db)
    assert (await ask(db, running, attempt=3)).state == "open"


async def test_an_answer_that_was_given_in_time_is_asked_for_again(db, running):
    await answer(db, await ask(db, running))
    await closed(db, finish(running, "released", reason="shutdown"))
    await claim(db)
    assert (await ask(db, running, attempt=2)).state == "open"


@pytest.mark.parametrize(
    ("default", "text"),
    [("deny", "was not answered in time, and its default counts: Deny"), (None, "was not answered in time.")],
)
async def test_a_question_that_expires_while_its_job_is_paused_queues_it(db, running, default, text):
    question = await ask(db, running, default=default, timeout=3600)
    await hold(db, running)
    await expire(db)
    await step(db)
    assert (await questions.get(db, question.question_id)).state == "expired"
    assert await states(db, running) == ("running", "queued", None)
    assert await words(db, running) == [f'Your question "may I?" {text}']


async def test_an_answer_that_crosses_the_hand_back_queues_the_job(db, running):
    """The worker no longer acknowledges it, so the next attempt has it."""
    await answer(db, await ask(db, running))
    assert await hold(db, running) == "paused"
    await step(db)
    assert await states(db, running) == ("running", "queued", None)
    assert len(await words(db, running)) == 1


async def test_a_question_of_a_command_of_the_job_is_carried_unless_the_command_had_the_answer(db, running):
    async def of_command(key, attempt=1):
        return await questions.ask(db, NewQuestion(running, 0, attempt, key, "text", key, [], None, None), 100)

    known, open_one = await of_command("known"), await of_command("open")
    await answer(db, known, None, "a")
    assert [row.question_id for row in await questions.ended(db, "w1")] == [known.question_id]
    assert await questions.acknowledge(db, HeldAttempt(running, 0, 1, "w1", None), [known.question_id])
    assert await hold(db, running) == "paused"
    await answer(db, open_one, None, "b")
    assert await words(db, running) == ['Your question "open" was answered: b']
    await claim(db)
    assert (await of_command("open", 2)).answer == "b"
    assert (await of_command("known", 2)).state == "open"


async def test_a_job_with_several_questions_waits_for_the_last_answer(db, running):
    first, second = await ask(db, running, "1"), await ask(db, running, "2", tool="Edit")
    await hold(db, running)
    await answer(db, first)
    assert (await states(db, running))[1] == "paused"
    await answer(db, second, "deny")
    assert (await states(db, running))[1] == "queued"
    (told,) = await words(db, running)
    assert told.index("Allow") < told.index("Deny")


async def test_holds_are_no_interruptions_and_a_worker_that_never_asked_cannot_hold(db, running):
    await workers.monitor_tick(db, heartbeat=5, suspect=SUSPECT, lease=LEASE, losses=3, attempts=2)
    for attempt in range(1, 5):
        question = await ask(db, running, attempt=attempt, value=attempt)
        assert await hold(db, running, attempt) == "paused"
        await answer(db, question)
        await claim(db)
    assert await hold(db, running, 5) == "queued"
    await claim(db)
    assert await hold(db, running, 6) == "failed"


async def test_a_cancel_closes_the_question_of_a_paused_job(db, running):
    question = await ask(db, running)
    await hold(db, running)
    await tasks.cancel(db, running, None)
    await step(db)
    assert (await questions.get(db, question.question_id)).state == "closed"
    assert await answer(db, question) is None
    assert (await states(db, running))[:2] == ("cancelled", "cancelled")


async def test_a_resume_without_an_answer_goes_on_and_closes_the_question(db, running):
    question = await ask(db, running)
    await hold(db, running)
    assert await tasks.resume(db, running)
    assert await states(db, running) == ("running", "queued", None)
    await step(db)
    assert (await questions.get(db, question.question_id)).state == "closed"
    assert await words(db, running) == []


async def test_an_answer_to_a_job_that_somebody_paused_too_waits_for_the_resume(db, running):
    question = await ask(db, running)
    await hold(db, running)
    await tasks.pause(db, running, None)
    await answer(db, question)
    await step(db)
    assert await states(db, running) == ("paused", "paused", "question")
    await tasks.resume(db, running)
    assert await states(db, running) == ("running", "queued", None)
    assert len(await words(db, running)) == 1


async def test_a_pause_that_commits_while_an_answer_queues_the_job_wins(db, dsn, running):
    question = await ask(db, running)
    await hold(db, running)
    await db._pool.fetch("update ado.questions set state = 'answered', choice = 'allow', answered_at = now()")
    pausing = await asyncpg.connect(dsn)
    try:
        async with pausing.transaction():
            await pausing.execute("update ado.jobs set pause_requested_at = now()")
            resuming = asyncio.create_task(questions.resume_answered(db))
            waits = (
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            )
            while not await pausing.fetchval(waits):
                await asyncio.sleep(0.01)
        assert await resuming == 0
    finally:
        await pausing.close()
    assert await states(db, running) == ("paused", "paused", "question")
    assert (await questions.get(db, question.question_id)).state == "answered"


async def test_a_pause_before_the_hand_back_keeps_the_question_open(db, running):
    question = await ask(db, running)
    await tasks.pause(db, running, None)
    assert await hold(db, running) == "paused"
    await step(db)
    assert (await questions.get(db, question.question_id)).state == "open"
    await answer(db, question)
    assert (await states(db, running))[1] == "paused"
    await tasks.resume(db, running)
    assert (await states(db, running))[1] == "queued"


async def test_a_hold_leaves_other_jobs_running(db):
    task_id = await create(db, agent="scripted", workers=2)
    await register(db, capabilities=("scripted",))
    await claim(db)
    question = await ask(db, task_id)
    await hold(db, task_id)
    task = await tasks.get(db, task_id)
    assert (task.status, [job.status for job in task.jobs]) == ("running", ["paused", "running"])
    await closed(db, finish(task_id, job=1))
    await tasks.after_failure(db, task_id)
    assert (await tasks.get(db, task_id)).status == "paused"
    await answer(db, question)
    assert (await tasks.get(db, task_id)).status == "running"
    assert await jobs.held(db, "w1") == {}
