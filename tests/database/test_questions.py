"""Questions of jobs, as the statements decide them."""

import asyncio

import asyncpg
import orjson
import pytest
from support.records import claim, closed, create, finish, register

from db import jobs, questions, tasks
from db.actor import Actor
from db.paging import ALL, PageLimit
from db.questions import NewQuestion

ANNA, BEN = Actor("questions.answer", "user-1", name="anna"), Actor("questions.answer", "user-2", name="ben")


def new(task_id, key="k", *, job=0, attempt=1, options=(), default=None, timeout=None, text="which?"):
    choices = [{"id": option, "label": option.upper()} for option in options]
    kind = "choice" if options else "text"
    return NewQuestion(task_id, job, attempt, key, kind, text, choices, default, timeout)


async def ask(db, task_id, key="k", *, limit=100, **values):
    return await questions.ask(db, new(task_id, key, **values), limit)


async def answer(db, question, *, text=None, choice=None, actor=ANNA):
    return await questions.answer(db, question.question_id, choice=choice, text=text, actor=actor)


async def listed(db, state="open", limit=ALL, after=0, task_id=None, creator=None):
    page, more = await questions.page(db, state=state, task_id=task_id, creator=creator, after=after, limit=limit)
    return [item.question_id for item in page], more


async def log(db, task_id, *types):
    rows = await db._pool.fetch("select seq, type, body from ado.events where task_id = $1 order by seq", task_id)
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    (stored,) = await db._pool.fetch("select last_seq from ado.task_logs where task_id = $1", task_id)
    assert stored["last_seq"] == len(rows)
    return [(row["type"], orjson.loads(row["body"])) for row in rows if row["type"] in types]


@pytest.fixture
async def running(db):
    task_id = await create(db, workers=2)
    await register(db)
    await claim(db)
    return task_id


async def test_a_question_is_stored_once_for_each_key(db, running):
    first = await ask(db, running, options=["a", "b"])
    assert await ask(db, running, options=["a", "b"]) == first
    assert await ask(db, running, "other") != first
    assert len(await log(db, running, "question")) == 2
    assert (await log(db, running, "question"))[0][1] == {
        "questionId": f"question-{first.question_id}",
        "kind": "choice",
        "text": "which?",
        "options": [{"id": "a", "label": "A"}, {"id": "b", "label": "B"}],
    }


async def test_concurrent_equal_questions_are_one(db, running):
    asked = await asyncio.gather(*(ask(db, running) for _ in range(10)))
    assert len({question.question_id for question in asked}) == 1
    assert len(await log(db, running, "question")) == 1


async def test_only_the_attempt_that_runs_asks(db, running):
    assert await ask(db, running, attempt=2) is None
    await closed(db, finish(running))
    assert await ask(db, running) is None
    assert await ask(db, 99) is None


async def test_a_job_asks_a_bounded_number(db, running):
    assert await ask(db, running, "1", limit=2)
    assert await ask(db, running, "2", limit=2)
    assert await ask(db, running, "3", limit=2) is None
    assert await ask(db, running, "2", limit=2)
    assert await ask(db, running, "3", job=1, limit=2)


async def test_the_first_answer_stands_and_is_in_the_log_once(db, running):
    question = await ask(db, running)
    given = await asyncio.gather(*(answer(db, question, text=str(n), actor=(ANNA, BEN)[n % 2]) for n in range(8)))
    (winner,) = [item for item in given if item]
    assert await questions.get(db, question.question_id) == winner
    assert (winner.state, winner.answered_by in ("anna", "ben")) == ("answered", True)
    assert await log(db, running, "answer") == [
        ("answer", {"questionId": f"question-{question.question_id}", "text": winner.answer, "by": winner.answered_by})
    ]
    assert len(await db._pool.fetch("select from ado.audit where procedure = 'questions.answer'")) == 1


async def test_a_question_of_an_ended_attempt_takes_no_answer_and_is_closed(db, running):
    question = await ask(db, running)
    await closed(db, finish(running, "released"))
    assert await answer(db, question, text="late") is None
    await claim(db)
    assert await answer(db, question, text="late") is None
    assert await questions.close(db) == 1
    found = await questions.get(db, question.question_id)
    assert (found.state, found.answer, found.choice) == ("closed", None, None)
    assert await log(db, running, "answer") == []
    assert await questions.close(db) == 0


async def test_a_question_of_a_cancelled_task_is_closed(db, running):
    question = await ask(db, running)
    await tasks.cancel(db, running, None)
    await jobs.end_attempts(db, [(running, 0, 1)], reason="lost", loss=True)
    assert await questions.close(db) == 1
    assert (await questions.get(db, question.question_id)).state == "closed"


@pytest.mark.parametrize(
    ("options", "default", "choice", "text"),
    [(["a", "b"], "b", "b", None), ([], "words", None, "words"), ([], None, None, None)],
)
async def test_a_question_whose_time_is_over_gets_its_default(db, running, options, default, choice, text):
    question = await ask(db, running, options=options, default=default, timeout=3600)
    assert await questions.close(db) == 0
    await db._pool.fetch("update ado.questions set expires_at = now()")
    assert await answer(db, question, text="late") is None
    assert await questions.close(db) == 1
    found = await questions.get(db, question.question_id)
    assert (found.state, found.choice, found.answer, found.answered_by) == ("expired", choice, text, None)
    ((_, event),) = await log(db, running, "answer")
    given = {"choice": choice, "text": text}
    assert event == {
        "questionId": f"question-{question.question_id}",
        "expired": True,
        **{name: value for name, value in given.items() if value is not None},
    }


async def test_many_questions_end_together(db, running):
    for number in range(5):
        await ask(db, running, str(number), timeout=3600, job=number % 2)
    await db._pool.fetch("update ado.questions set expires_at = now()")
    assert sum(await asyncio.gather(*(questions.close(db) for _ in range(3)))) == 5
    assert len(await log(db, running, "answer")) == 5


async def test_a_list_has_pages_by_rows_and_bytes(db, running):
    ids = [(await ask(db, running, str(number), text="x" * 1000)).question_id for number in range(5)]
    assert await listed(db, limit=PageLimit(2)) == (ids[:2], True)
    assert await listed(db, limit=PageLimit(2), after=ids[3]) == (ids[4:], False)
    assert await listed(db, limit=PageLimit(100, 3500)) == (ids[:2], True)
    assert await listed(db, limit=PageLimit(100, 1)) == (ids[:1], True)


async def test_a_list_has_the_questions_of_a_state_a_task_and_a_creator(db, running):
    first, second = await ask(db, running, "1"), await ask(db, running, "2")
    await answer(db, first, text="yes")
    await db._pool.fetch("update ado.tasks set created_by = 'user-1'")
    assert await listed(db) == ([second.question_id], False)
    assert await listed(db, state="answered") == ([first.question_id], False)
    assert await listed(db, state=None) == ([first.question_id, second.question_id], False)
    assert await listed(db, task_id=running + 1) == ([], False)
    assert await listed(db, task_id=running, creator="user-1") == ([second.question_id], False)
    assert await listed(db, creator="user-2") == ([], False)


async def test_an_answer_during_the_close_of_a_question_is_kept(db, dsn, running):
    question = await ask(db, running, timeout=3600)
    await db._pool.fetch("update ado.questions set expires_at = now()")
    rival = await asyncpg.connect(dsn)
    transaction = rival.transaction()
    await transaction.start()
    await rival.execute("select from ado.jobs for update")
    closing = asyncio.create_task(questions.close(db))
    blocked = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with asyncio.timeout(60):
        while not await rival.fetch(blocked):
            await asyncio.sleep(0.01)
    await rival.execute("update ado.questions set state = 'answered', answer = 'yes', answered_at = now()")
    await transaction.commit()
    await rival.close()
    assert await closing == 0
    assert (await questions.get(db, question.question_id)).answer == "yes"
