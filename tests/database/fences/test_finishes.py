"""What the end of an attempt changes, whose it must be, and what becomes of its job."""

from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from support.fences import DIGEST, ask, changes, log, raw, send
from support.records import closed, finish

from db import jobs, tokens


async def add_input(db, task_id, job):
    await raw(db, "insert into ado.inputs (task_id, job) values ($1, $2)", task_id, job)


async def test_a_finish_changes_its_job_and_its_log(db):
    for key in ((1, 0), (1, 1), (2, 0)):
        await add_input(db, *key)
    _, changed = await changes(db, closed(db, finish(1)))
    assert changed == {("job", "1", 0), ("log", "1"), ("input", "1", 0)}
    _, changed = await changes(db, closed(db, finish(2, "released", worker_id="w2")))
    assert changed == {("job", "2", 0), ("log", "2")}
    assert (await log(db, 1))[-1] == ("finished", 0)
    assert (await log(db, 2))[-1] == ("released", 0)


@pytest.mark.parametrize("wrong", [{"task_id": 2}, {"job": 2}, {"attempt": 2}, {"worker_id": "w2"}, {"last_batch": 1}])
async def test_a_finish_needs_its_job_attempt_worker_and_output(db, wrong):
    assert await changes(db, closed(db, replace(finish(1, last_batch=0), **wrong))) == (None, set())
    assert await closed(db, finish(1, last_batch=0)) is not None
    assert await changes(db, closed(db, finish(1, last_batch=0))) == (None, set())


async def test_a_finish_needs_the_credential_of_its_attempt(db):
    await raw(db, "update ado.jobs set credential_digest = $1 where task_id = 1 and job = 0", DIGEST)
    for wrong in (None, tokens.digest("other")):
        assert await changes(db, closed(db, replace(finish(1), credential=wrong))) == (None, set())
    assert await closed(db, replace(finish(1), credential=DIGEST)) is not None


TOO_MANY = "5 attempts ended without a result of the agent, the last one: shutdown: said"
NOW = datetime.now(UTC)
WAITS = {"last_message_id": 99}  # stored after the statement began
VERDICTS = {
    "a success ends the job": ("succeeded", None, {}, "succeeded", None, "said"),
    "a success after many interruptions": ("succeeded", None, {"interruptions": 9}, "succeeded", None, "said"),
    "a success of a job with retries": ("succeeded", None, {"retries": 1}, "succeeded", None, "said"),
    "a release": ("released", "shutdown", {"interruptions": 3}, "queued", "shutdown", "said"),
    "the last release": ("released", "shutdown", {"interruptions": 4}, "failed", "too_many_attempts", TOO_MANY),
    "the last release of a cancelled job": (
        "released", "shutdown", {"interruptions": 4, "stop_reason": "cancelled"}, "cancelled", "cancelled", "said",
    ),
    "a release of a job that somebody wants paused": (
        "released", "shutdown", {"interruptions": 4, "pause_requested_at": NOW}, "paused", "paused", "said",
    ),
    "a release to pause of a job that was resumed": (
        "released", "paused", {"interruptions": 4}, "queued", "paused", "said",
    ),
    "a failure with a retry left": ("failed", "no_result", {"retries": 1}, "queued", "no_result", "said"),
    "a failure without one": ("failed", None, {"retries": 1, "failures": 1}, "failed", "agent_error", "said"),
    "a loss of the input": ("failed", "input_lost", {"retries": 1}, "failed", "input_lost", "said"),
    "a loss of the input before a message": ("failed", "input_lost", WAITS, "failed", "input_lost", "said"),
    "a success before a message": ("succeeded", None, WAITS, "queued", None, "said"),
    "a failure before a message": ("failed", "no_result", WAITS, "queued", "no_result", "said"),
    "a cancel before a message": ("cancelled", None, WAITS, "cancelled", "cancelled", "said"),
}  # fmt: skip
RETRIED, CONTINUED = {"a failure with a retry left"}, {"a success before a message", "a failure before a message"}


@pytest.mark.parametrize("name", VERDICTS)
async def test_a_finish_decides_by_its_outcome_and_what_came_before(db, name):
    outcome, reason, state, *expected = VERDICTS[name]
    await raw(db, "update ado.control set attempts = 5")
    await raw(db, "update ado.tasks set retries = $1", state.get("retries", 0))
    columns = {"failures": 0} | {column: value for column, value in state.items() if column != "retries"}
    settings = ", ".join(f"{column} = ${number}" for number, column in enumerate(columns, 1))
    await raw(db, f"update ado.jobs set {settings} where task_id = 1 and job = 0", *columns.values())
    job, _ = await closed(db, replace(finish(1, outcome, reason=reason), message="said"))
    assert [job.status, job.reason, job.message] == expected
    (row,) = await raw(db, "select failures, continues from ado.jobs where task_id = 1 and job = 0")
    assert row["failures"] == columns["failures"] + (name in RETRIED)
    assert row["continues"] is (name in CONTINUED)
    last = "continued" if name in CONTINUED else "requeued" if name in RETRIED else None
    assert (await log(db, 1))[-1][0] == (last or ("released" if job.status in ("queued", "paused") else "finished"))


async def test_a_job_waits_for_a_question_of_its_own_attempt_only(db):
    for task_id, job in ((1, 0), (1, 1), (2, 0)):
        await ask(db, task_id, job)
    await raw(db, "update ado.questions set attempt = 2 where task_id = 1 and job = 0")
    ends = [finish(1, "released", job=job, reason="question") for job in (0, 1)]
    assert [(await closed(db, end))[0].status for end in ends] == ["queued", "paused"]


async def test_a_job_continues_for_no_message_that_is_anothers_delivered_or_of_an_earlier_attempt(db):
    await send(db, 1, [(1, 1)])
    await send(db, 2, [(2, 0)])
    await send(db, 3, [(1, 0)], delivered=True)
    await send(db, 4, [(1, 0)], sent_in=0)
    job, _ = await closed(db, finish(1))
    assert job.status == "succeeded"


async def test_a_job_continues_with_the_first_message_that_its_agent_has_not_taken(db):
    for number, delivered in ((1, True), (2, False), (3, False)):
        await send(db, number, [(1, 0)], delivered=delivered, by=f"person {number}")
    await closed(db, finish(1))
    (row,) = await raw(db, "select body from ado.events where type = 'continued'")
    assert orjson.loads(row["body"]) == {"messageId": "message-2", "by": "person 2"}


async def test_a_job_continues_with_a_message_that_was_stored_during_the_statement(db):
    await send(db, 1, [(1, 0)], delivered=True)
    await raw(db, "update ado.jobs set last_message_id = 99 where task_id = 1 and job = 0")
    await closed(db, finish(1))
    (row,) = await raw(db, "select body from ado.events where type = 'continued'")
    assert orjson.loads(row["body"]) == {"messageId": "message-99"}


async def test_the_usage_of_each_attempt_is_recorded_once_by_its_kind(db):
    names = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens", "costUsd", "turns", "other")
    used = finish(1, usage=dict(zip(names, (1, 2, 3, 4, 5, 6, 7), strict=True)))
    odd = finish(1, job=1, usage={"inputTokens": "many", "outputTokens": -1})
    await jobs.finish_all(db, [used, odd, finish(2, worker_id="w2")])
    amounts = "input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd, turns"
    rows = await raw(db, f"select job, {amounts} from ado.attempt_usage order by job")
    assert [tuple(row) for row in rows] == [(0, 1, 2, 3, 4, 5, 6), (1, None, -1, None, None, None, None)]
    noted = await raw(db, "select kind, amount from ado.metric_notes where measure in ('tokens', 'cost')")
    assert {row["kind"]: row["amount"] for row in noted} == {
        "input": 1, "output": 2, "cache_read": 3, "cache_write": 4, "": 5,
    }  # fmt: skip
