"""Who may ask and answer, and which open requests a remembered answer counts for."""

import asyncio
from dataclasses import replace

import pytest
from support.fences import DIGEST, REQUEST, answer, ask, changes, claimed, log, raw
from support.records import closed, finish

from db import questions, tokens
from db.model import HeldAttempt


async def test_a_question_needs_its_running_attempt(db):
    for wrong in ({"task_id": 9}, {"task_id": 2, "job": 1}, {"attempt": 2}):
        assert await changes(db, ask(db, **wrong)) == (None, set())
    await closed(db, finish(1))
    assert await changes(db, ask(db)) == (None, set())


async def test_a_job_asks_so_many_questions_whatever_others_ask(db):
    for task_id, job in ((1, 0), (1, 1), (2, 0)):
        asked, changed = await changes(db, ask(db, task_id, job, limit=1))
        assert changed == {("question", str(asked.question_id)), ("log", str(task_id))}
    assert await changes(db, ask(db, key="another", limit=1)) == (None, set())


async def test_an_answer_belongs_to_one_question_and_is_given_once(db):
    first, other = await ask(db, timeout=3600), await ask(db, 1, 1)
    for task_id, job in ((1, 2), (2, 0)):
        await ask(db, task_id, job)
    for question in (first, other):
        _, changed = await changes(db, answer(db, question))
        assert changed == {("question", str(question.question_id)), ("log", "1")}
        assert await changes(db, answer(db, question)) == (None, set())


async def test_a_worker_asks_only_for_its_own_attempt_and_with_its_credential(db):
    await raw(db, "update ado.jobs set credential_digest = $1 where task_id = 1 and job = 0", DIGEST)
    for worker_id, credential in (("w2", DIGEST), ("w1", None), ("w1", tokens.digest("other"))):
        asker = HeldAttempt(1, 0, 1, worker_id, credential)
        assert await changes(db, ask(db, asker=asker)) == (None, set())
    assert await ask(db, asker=HeldAttempt(1, 0, 1, "w1", DIGEST))
    assert await ask(db, key="of the job itself")
    assert await ask(db, 1, 1, asker=HeldAttempt(1, 1, 1, "w1", None))


OTHER_REQUESTS = ({"kind": "choice"}, {"options": []}, {"tool": "Write"})


async def test_a_remembered_answer_counts_for_the_open_requests_of_the_task_for_the_same_tool(db):
    asked, same = await ask(db, **REQUEST), await ask(db, 1, 1, **REQUEST)
    unlike = [await ask(db, 1, 1, key=str(other), **REQUEST | other) for other in OTHER_REQUESTS]
    unlike.append(await ask(db, 2, **REQUEST))
    expired = await ask(db, 1, 1, key="expired", timeout=3600, **REQUEST)
    await raw(db, "update ado.questions set expires_at = now() where expires_at is not null")
    answered, ended = await ask(db, key="answered", **REQUEST), await ask(db, 1, 2, **REQUEST)
    await answer(db, answered)
    await closed(db, finish(1, job=2, worker_id="w2"))

    async def states():
        return {
            row["question_id"]: row["state"] for row in await raw(db, "select question_id, state from ado.questions")
        }

    before = await states()
    assert {before[question.question_id] for question in (same, *unlike, expired, ended)} == {"open"}
    _, changed = await changes(db, answer(db, asked, remember=True))
    assert changed == {("question", str(asked.question_id)), ("question", str(same.question_id)), ("log", "1")}
    assert (await log(db, 1))[-2:] == [("answer", 0), ("answer", 1)]
    assert len(await raw(db, "select from ado.audit")) == 2  # one for each call, however many it answered


async def test_an_answer_that_is_not_to_be_remembered_counts_for_one_request(db):
    asked, _ = await ask(db, **REQUEST), await ask(db, 1, 1, **REQUEST)
    _, changed = await changes(db, answer(db, asked))
    assert changed == {("question", str(asked.question_id)), ("log", "1")}
    assert (await ask(db, key="another", **REQUEST)).state == "open"


@pytest.mark.parametrize("change", ["expires_at = now()", "state = 'closed', answered_at = now()"])
async def test_an_answer_that_comes_too_late_is_remembered_for_no_other_request(db, change):
    asked, _ = await ask(db, **REQUEST), await ask(db, 1, 1, **REQUEST)
    await raw(db, f"update ado.questions set {change} where question_id = $1", asked.question_id)
    assert await changes(db, answer(db, asked, remember=True)) == (None, set())


async def test_an_answer_that_another_person_gives_meanwhile_is_kept(db, own):
    asked, same = await ask(db, **REQUEST), await ask(db, 1, 1, **REQUEST)
    await own("select from ado.jobs where task_id = 1 and job = 1 for update")
    answering = asyncio.create_task(answer(db, asked, remember=True))
    blocked = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with asyncio.timeout(60):
        while not await raw(db, blocked):
            await asyncio.sleep(0.01)
    change = "update ado.questions set state = 'answered', answer = 'other', answered_at = now() where question_id = "
    await own(f"{change} {same.question_id}")
    await own("commit")
    assert (await answering).answer == "this"
    assert (await questions.get(db, same.question_id)).answer == "other"


async def test_a_request_with_a_remembered_answer_is_not_stored(db):
    asked = await ask(db, **REQUEST)
    await answer(db, asked, remember=True)
    again, changed = await changes(db, ask(db, 1, 1, **REQUEST))
    assert (again.question_id, changed) == (asked.question_id, set())
    for other in OTHER_REQUESTS:
        assert (await ask(db, 1, 1, key=str(other), **REQUEST | other)).state == "open"
    assert (await ask(db, 2, **REQUEST)).state == "open"


UNLIKE_CARRIED = {
    "another task's job": {"task_id": 2},
    "another job": {"job": 1},
    "a later attempt": {"attempt": 3},
    "another kind": {"kind": "choice"},
    "another text": {"text": "another?"},
    "other options": {"options": []},
    "another tool": {"tool": "Write"},
    "other input": {"input": {"file": "b"}},
}


@pytest.mark.parametrize("other", [None, *UNLIKE_CARRIED])
async def test_a_carried_answer_counts_for_the_same_request_of_the_next_attempt(db, other):
    request = REQUEST | {"text": "may I?", "input": {"file": "a"}}
    given = await ask(db, **request)
    await answer(db, given)
    await raw(db, "update ado.questions set carried = true")
    values = request | {"attempt": 2, "key": "again"} | UNLIKE_CARRIED.get(other, {})
    await raw(db, "update ado.jobs set attempt = $1 where status = 'running'", values["attempt"])
    stored, _ = await changes(db, ask(db, **values))
    assert (stored.question_id == given.question_id, stored.state) == ((other is None), "open" if other else "answered")


@pytest.mark.parametrize("change", ["carried = false", "state = 'expired'"])
async def test_an_answer_that_was_not_carried_or_not_given_counts_for_no_other_request(db, change):
    given = await ask(db, **REQUEST)
    await answer(db, given)
    await raw(db, "update ado.questions set carried = true")
    await raw(db, f"update ado.questions set {change}")
    await raw(db, "update ado.jobs set attempt = 2 where status = 'running'")
    assert (await ask(db, attempt=2, key="again", **REQUEST)).state == "open"


@pytest.mark.parametrize("how", ["ended", "next attempt", "expired"])
async def test_a_question_that_nobody_waits_for_is_not_answered(db, how):
    question, _ = await ask(db, timeout=3600), await ask(db, 2)
    if how == "expired":
        await raw(db, "update ado.questions set expires_at = now()")
    else:
        await closed(db, finish(1, "succeeded" if how == "ended" else "released"))
    if how == "next attempt":
        assert (1, 0) in await claimed(db, "w1")
    assert await changes(db, answer(db, question)) == (None, set())


@pytest.mark.parametrize(
    ("status", "reason", "taken"),
    [("paused", "question", True), ("paused", "paused", False), ("queued", "question", False)],
)
async def test_a_question_of_a_job_that_is_paused_for_it_is_answered(db, status, reason, taken):
    question, _ = await ask(db), await ask(db, 2)
    change = "update ado.jobs set status = $1, reason = $2, lease_expires_at = null where task_id = 1 and job = 0"
    await raw(db, change, status, reason)
    assert (await answer(db, question) is not None) is taken


async def test_a_worker_acknowledges_the_ended_questions_of_its_attempt_once(db):
    own, unnamed, earlier = [await ask(db, key=key) for key in "abc"]
    others = [await ask(db, *key) for key in ((1, 1), (1, 2), (2, 0))]
    for question in (own, unnamed, earlier, *others):
        await answer(db, question)
    await raw(db, "update ado.questions set attempt = 9 where question_id = $1", earlier.question_id)
    still_open = await ask(db, key="d")
    named = [question.question_id for question in (own, earlier, still_open, *others)]
    holder = HeldAttempt(1, 0, 1, "w1", None)
    for wrong in ({"task_id": 2}, {"job": 2}, {"attempt": 2}, {"worker_id": "w2"}):
        assert await changes(db, questions.acknowledge(db, replace(holder, **wrong), named)) == (False, set())
    expected = {("question", str(own.question_id))}
    assert await changes(db, questions.acknowledge(db, holder, named)) == (True, expected)
    assert await changes(db, questions.acknowledge(db, holder, named)) == (True, set())
    await raw(db, "update ado.jobs set status = 'queued', lease_expires_at = null where task_id = 1 and job = 0")
    assert await changes(db, questions.acknowledge(db, holder, named)) == (False, set())


async def test_a_worker_acknowledges_with_the_credential_of_the_attempt(db):
    await raw(db, "update ado.jobs set credential_digest = $1 where task_id = 1 and job = 0", DIGEST)
    for credential, accepted in ((None, False), (tokens.digest("other"), False), (DIGEST, True)):
        assert await questions.acknowledge(db, HeldAttempt(1, 0, 1, "w1", credential), []) is accepted
    assert await questions.acknowledge(db, HeldAttempt(1, 1, 1, "w1", None), [])
