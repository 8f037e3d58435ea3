"""Permission requests of agents, as the statements decide them."""

import asyncio
import dataclasses

import pytest
from support.records import claim, closed, create, finish, register

from db import questions
from db.actor import Actor
from db.model import HeldAttempt
from db.questions import NewQuestion

ANNA = Actor("questions.answer", "user-1", name="anna")
OPTIONS = [{"id": "allow", "label": "Allow"}, {"id": "deny", "label": "Deny"}]


@pytest.fixture
async def running(db):
    task_id = await create(db, workers=2)
    await register(db)
    await claim(db)
    return task_id


async def ask(db, task_id, key="k", *, tool="Bash", job=0, attempt=1, asker=None, timeout=None, options=OPTIONS):
    new = NewQuestion(task_id, job, attempt, key, "permission", "may I?", options, None, timeout, tool, {"a": 1})
    return await questions.ask(db, new, 100, asker or HeldAttempt(task_id, job, attempt, "w1", None))


async def answer(db, question, choice="allow", **values):
    return await questions.answer(db, question.question_id, choice=choice, text=None, actor=ANNA, **values)


async def waiting(db, worker_id="w1"):
    return [question.question_id for question in await questions.ended(db, worker_id)]


async def answers(db):
    rows = await db._pool.fetch("select job, attempt, body from ado.events where type = 'answer' order by seq")
    return [(row["job"], row["attempt"]) for row in rows]


async def state(db, question):
    return (await questions.get(db, question.question_id)).state


async def test_only_the_worker_that_runs_the_attempt_asks(db, running):
    holder = HeldAttempt(running, 0, 1, "w1", None)
    for other in ({"worker_id": "w2"}, {"attempt": 2}):
        stranger = dataclasses.replace(holder, **other)
        assert await ask(db, running, asker=stranger, attempt=stranger.attempt) is None
    await db._pool.fetch("update ado.jobs set credential_digest = '\\x01'")
    assert await ask(db, running) is None
    assert await ask(db, running, asker=dataclasses.replace(holder, credential=b"\1"))
    assert not await questions.acknowledge(db, holder, [1])


async def test_an_ended_question_is_told_until_the_worker_acknowledges_it(db, running):
    first, second = await ask(db, running, "1"), await ask(db, running, "2", tool="Edit", timeout=3600)
    assert await waiting(db) == []
    await answer(db, first)
    await db._pool.fetch("update ado.questions set expires_at = now() where state = 'open'")
    await questions.close(db)
    assert await waiting(db) == [first.question_id, second.question_id]
    assert await waiting(db, "w2") == []
    holder = HeldAttempt(running, 0, 1, "w1", None)
    assert not await questions.acknowledge(db, dataclasses.replace(holder, worker_id="w2"), [first.question_id])
    assert await questions.acknowledge(db, dataclasses.replace(holder, job=1), [first.question_id])
    assert await waiting(db) == [first.question_id, second.question_id]
    for _ in range(2):
        assert await questions.acknowledge(db, holder, [first.question_id])
    assert await waiting(db) == [second.question_id]
    await closed(db, finish(running, "released"))
    assert await waiting(db) == []


async def test_a_question_that_is_open_cannot_be_acknowledged(db, running):
    question = await ask(db, running)
    assert await questions.acknowledge(db, HeldAttempt(running, 0, 1, "w1", None), [question.question_id])
    await answer(db, question)
    assert await waiting(db) == [question.question_id]


async def test_a_remembered_answer_counts_for_the_tool_in_the_whole_task(db, running):
    first = await ask(db, running)
    await answer(db, first, remember=True)
    found = await ask(db, running, "other", job=1)
    assert (found.question_id, found.choice, found.answered_by, found.remembered) == (
        first.question_id,
        "allow",
        "anna",
        True,
    )
    await closed(db, finish(running, "released"))
    await claim(db)
    assert (await ask(db, running, attempt=2)).question_id == first.question_id
    assert (await ask(db, running, "edit", job=1, tool="Edit")).state == "open"
    assert (await ask(db, running, "options", job=1, options=OPTIONS[:1])).state == "open"
    elsewhere = await create(db)
    await claim(db)
    assert (await ask(db, elsewhere)).state == "open"
    assert len(await db._pool.fetch("select from ado.questions where remembered")) == 1


async def test_an_answer_that_is_not_remembered_counts_once(db, running):
    await answer(db, await ask(db, running))
    assert (await ask(db, running, "again")).state == "open"


async def test_a_question_that_was_asked_stays_itself_whatever_is_remembered(db, running):
    first, second = await ask(db, running, "1"), await ask(db, running, "2", tool="Edit")
    await answer(db, first, remember=True)
    await db._pool.fetch("update ado.questions set tool = 'Bash'")
    assert (await ask(db, running, "2")).question_id == second.question_id


async def test_a_remembered_answer_also_answers_what_is_open(db, running):
    first, same = await ask(db, running, "1"), await ask(db, running, "2", job=1)
    other = await ask(db, running, "3", tool="Edit")
    late = await ask(db, running, "4", timeout=3600)
    await db._pool.fetch("update ado.questions set expires_at = now() where question_id = $1", late.question_id)
    assert (await answer(db, first, "deny", remember=True)).question_id == first.question_id
    assert (await questions.get(db, same.question_id)).choice == "deny"
    assert [await state(db, question) for question in (other, late)] == ["open", "open"]
    assert sorted(await answers(db)) == [(0, 1), (1, 1)]
    assert len(await db._pool.fetch("select from ado.audit where procedure = 'questions.answer'")) == 1


async def test_a_late_answer_to_remember_changes_nothing(db, running):
    first, second = await ask(db, running, "1"), await ask(db, running, "2", job=1)
    await answer(db, first, "deny")
    assert await answer(db, first, remember=True) is None
    assert await state(db, second) == "open"


async def test_concurrent_answers_to_remember_end_each_question_once(db, running):
    asked = [await ask(db, running, str(number), job=number % 2) for number in range(6)]
    await asyncio.gather(*(answer(db, question, remember=True) for question in asked))
    assert {await state(db, question) for question in asked} == {"answered"}
    assert len(await answers(db)) == 6
    (stored,) = await db._pool.fetch("select last_seq, (select max(seq) from ado.events) as max from ado.task_logs")
    assert stored["last_seq"] == stored["max"]


async def test_the_log_has_the_tool_and_its_input(db, running):
    await answer(db, await ask(db, running), remember=True)
    rows = await db._pool.fetch("select body::jsonb::text as body from ado.events where type in ('question', 'answer')")
    assert '"tool": "Bash"' in rows[0]["body"]
    assert '"input": {"a": 1}' in rows[0]["body"]
    assert '"remember": "task"' in rows[1]["body"]
