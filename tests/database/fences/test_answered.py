"""Which paused jobs go on with the answers to their questions, and which questions end without an answer."""

import asyncio

import pytest
from support.fences import ask, changes, raw, until_blocked

from db import questions

PAUSED = "status = 'paused', reason = 'question', worker_id = null, lease_expires_at = null"
ANSWERED = "state = 'answered', answer = 'this', answered_at = now(), worker_waits = true"


async def pause(db, task_id, job, then="attempt = attempt"):
    """Let a job be paused for its questions, and then change it once more."""
    for change in (PAUSED, then):
        await raw(db, f"update ado.jobs set {change} where task_id = $1 and job = $2", task_id, job)


async def statuses(db):
    rows = await raw(db, "select task_id, job, status from ado.jobs")
    return {(row["task_id"], row["job"]): row["status"] for row in rows}


async def question(db, task_id, job, *, attempt=1, how=ANSWERED):
    """Store a question of an attempt, which may be over or still to come."""
    asked = await ask(db, task_id, job, key=f"{task_id}/{job}/{attempt}")
    await raw(db, f"update ado.questions set attempt = $2, {how} where question_id = $1", asked.question_id, attempt)
    return asked.question_id


async def test_an_answer_queues_its_job_and_changes_nothing_else(db):
    own = await question(db, 1, 0)
    for task_id, job, attempt in ((1, 1, 1), (2, 0, 1), (1, 0, 2)):
        await question(db, task_id, job, attempt=attempt)
    await pause(db, 1, 0)
    await raw(db, "update ado.tasks set status = 'paused'")
    _, changed = await changes(db, questions.resume_answered(db))
    rows = await raw(db, "select question_id from ado.questions where carried")
    assert [row["question_id"] for row in rows] == [own]
    (message,) = await raw(db, "select message_id, task_id, job from ado.messages")
    assert tuple(message)[1:] == (1, 0)
    written = {("job", "1", 0), ("task", "1"), ("log", "1"), ("question", str(own))}
    assert changed == written | {(f"message {message['message_id']}", "1", 0)}
    assert (await statuses(db))[1, 0] == "queued"


@pytest.mark.parametrize("other", [(1, 1, 1), (2, 0, 1), (1, 0, 2)])
async def test_a_job_waits_only_for_the_questions_of_its_attempt(db, other):
    task_id, job, attempt = other
    await question(db, task_id, job, attempt=attempt, how="state = 'open'")
    await question(db, 1, 0)
    await pause(db, 1, 0)
    assert await questions.resume_answered(db) == 1
    assert (await statuses(db))[1, 0] == "queued"


OTHER_JOBS = {
    "it is queued": "status = 'queued'",
    "it is paused by somebody": "reason = 'paused'",
    "somebody wants it paused": "pause_requested_at = now()",
}


@pytest.mark.parametrize("name", OTHER_JOBS)
async def test_a_resume_does_not_wait_for_a_job_that_it_leaves(db, own, name):
    await pause(db, 1, 0)
    await pause(db, 1, 1, OTHER_JOBS[name])
    await own("select from ado.jobs where task_id = 1 and job = 1 for update")
    async with asyncio.timeout(60):
        assert await questions.resume_answered(db) == 1


@pytest.mark.parametrize("name", OTHER_JOBS)
async def test_a_job_that_changes_while_it_is_resumed_is_left(db, own, name):
    await pause(db, 1, 0)
    await own(f"update ado.jobs set {OTHER_JOBS[name]} where task_id = 1 and job = 0")
    resuming = asyncio.create_task(questions.resume_answered(db))
    await until_blocked(db)
    await own("commit")
    assert await resuming == 0


async def test_neither_an_end_of_questions_nor_a_resume_waits_for_another_task(db, own):
    await question(db, 1, 0, how="expires_at = now()")
    await own("select from ado.jobs where task_id = 2 or job = 1 for update")
    await own("select from ado.task_logs where task_id = 2 for update")
    async with asyncio.timeout(60):
        assert await questions.close(db) == 1
        await pause(db, 1, 0)
        assert await questions.resume_answered(db) == 1


async def test_a_question_of_a_job_that_is_paused_otherwise_is_closed_without_its_default(db):
    for job, reason in ((0, "question"), (1, "paused")):
        await question(db, 1, job, how="default_answer = 'default'")
        await pause(db, 1, job, f"reason = '{reason}'")
    await raw(db, "update ado.questions set kind = 'permission', options = '[]' where job = 1")
    await questions.close(db)
    rows = await raw(db, "select job, state, choice, answer from ado.questions order by job")
    assert [tuple(row) for row in rows] == [(0, "open", None, None), (1, "closed", None, None)]
    await raw(db, "update ado.questions set kind = 'text', state = 'open', answered_at = null where job = 1")
    await questions.close(db)
    rows = await raw(db, "select state, choice, answer from ado.questions where job = 1")
    assert tuple(rows[0]) == ("closed", None, None)


async def test_a_question_that_is_answered_while_it_is_closed_keeps_its_answer(db, own):
    asked = await question(db, 1, 0, how="expires_at = now()")
    await own(f"update ado.questions set {ANSWERED} where question_id = {asked}")
    closing = asyncio.create_task(questions.close(db))
    await until_blocked(db)
    await own("commit")
    assert await closing == 0
    rows = await raw(db, "select state, answer from ado.questions")
    assert tuple(rows[0]) == ("answered", "this")


async def test_an_end_of_questions_does_not_wait_for_the_job_of_an_answered_one(db, own):
    await question(db, 1, 0, how=f"{ANSWERED}, expires_at = now()")
    await own("select from ado.jobs where task_id = 1 and job = 0 for update")
    async with asyncio.timeout(60):
        assert await questions.close(db) == 0
