"""What each write of a worker changes and what it leaves as it is, beside jobs of other tasks, workers and attempts."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import orjson
import pytest
from support.records import LEASE, SUSPECT, batch, claim, closed, create, finish, register

from db import events, jobs, messages, questions, tokens, users, workers
from db.actor import Actor
from db.events import NewEvent, StoredBatch
from db.model import HeldAttempt, ResourceAmounts
from db.questions import NewQuestion
from db.users import UserLimits

SNAPSHOT = """
    select 'job', task_id::text, job, j::text from ado.jobs j
    union all select 'log', task_id::text, null, l::text from ado.task_logs l
    union all select 'task', task_id::text, null, t::text from ado.tasks t
    union all select 'worker', worker_id, null, w::text from ado.workers w
    union all select 'pod', name, null, p::text from ado.pods p
    union all select 'message ' || message_id, task_id::text, job, m::text from ado.message_jobs m
    union all select 'question', question_id::text, null, q::text from ado.questions q
    union all select 'input', task_id::text, job, i::text from ado.inputs i"""
DIGEST = tokens.digest("a credential")


async def raw(db, statement, *values):
    """Reach into the tables, as time or an operator would."""
    return await db._pool.fetch(statement, *values)


async def changes(db, call):
    """Make a call; return its result, and the rows that were written, added or removed."""

    async def rows():
        return {(*map(str, row[:2]), row[2]): row[3] for row in await raw(db, SNAPSHOT)}

    before = await rows()
    result = await call
    after = await rows()
    return result, {key[:2] if key[2] is None else key for key in before | after if before.get(key) != after.get(key)}


async def log(db, task_id):
    """Return type and job of every event of a log that has no gap."""
    rows = await raw(db, "select seq, type, job from ado.events where task_id = $1 order by seq", task_id)
    (stored,) = await raw(db, "select last_seq from ado.task_logs where task_id = $1", task_id)
    assert [row["seq"] for row in rows] == list(range(1, stored["last_seq"] + 1))
    return [(row["type"], row["job"]) for row in rows]


@pytest.fixture(autouse=True)
async def world(db):
    """Worker w1 runs the jobs 0 and 1 of task 1, w2 job 2 of task 1 and job 0 of task 2; job 1 of task 2 waits."""
    await create(db, workers=3)
    await create(db, workers=2)
    for worker_id, limit in (("w1", 2), ("w2", 2)):
        await register(db, worker_id)
        assert len(await claim(db, worker_id, limit=limit)) == 2


async def claimed(db, worker_id, limit=100):
    given = await claim(db, worker_id, limit=limit)
    return None if given is None else [(job.task_id, job.job) for job in given]


@pytest.fixture
async def own(dsn):
    """Run statements in a transaction of a connection of its own, which stays open."""
    connection = await asyncpg.connect(dsn)
    await connection.execute("begin")
    yield connection.execute
    await connection.close()


# Claims


@pytest.mark.parametrize("wrong", [{"session": "other"}, {"claims": 7}, {"worker_id": "w1"}])
async def test_a_claim_needs_its_worker_session_and_number(db, wrong):
    right = {"worker_id": "w3", "session": await register(db, "w3"), "claims": 0, "limit": 9}
    times = {"suspect_seconds": SUSPECT, "lease_seconds": LEASE}
    assert await changes(db, jobs.claim(db, **right | wrong, **times)) == (None, set())
    assert len(await jobs.claim(db, **right, **times)) == 1


async def test_a_claim_counts_for_one_worker_even_if_sessions_are_equal(db):
    await register(db, "w3")
    await raw(db, "update ado.workers set session = 's', claims = 0")
    assert await claimed(db, "w3") == [(2, 1)]
    assert [row["worker_id"] for row in await raw(db, "select worker_id from ado.workers where claims > 0")] == ["w3"]


@pytest.mark.parametrize(
    "state", ["draining = true", "stopped_at = now()", "last_heartbeat_at = now() - interval '1 minute'"]
)
async def test_a_worker_that_drains_has_ended_or_is_silent_claims_nothing(db, state):
    await register(db, "w3")
    await raw(db, f"update ado.workers set {state} where worker_id = 'w3'")
    assert await changes(db, claim(db, "w3")) == (None, set())


async def test_a_worker_s_slots_are_taken_by_what_it_runs_itself(db):
    await create(db)
    await register(db, "w3", slots=1)
    assert await claimed(db, "w3") == [(2, 1)]
    assert await claimed(db, "w3") == []
    await closed(db, finish(2, job=1, worker_id="w3"))
    assert await claimed(db, "w3") == [(3, 0)]


@pytest.mark.parametrize("wish", [ResourceAmounts(cpu=5), ResourceAmounts(memory=5), ResourceAmounts(gpu=5)])
async def test_the_jobs_of_one_claim_fit_the_worker_together(db, wish):
    await create(db, workers=2, resources=wish)
    await register(db, "w3", resources=ResourceAmounts(8, 8, 8))
    assert await claimed(db, "w3") == [(2, 1), (3, 0)]
    assert await claimed(db, "w3") == []


async def test_a_claim_changes_its_jobs_and_what_belongs_to_them(db):
    for _ in range(2):
        await create(db, workers=2)
    await register(db, "w3")
    given, changed = await changes(db, claimed(db, "w3", limit=2))
    assert given == [(2, 1), (3, 0)]
    assert changed == {
        ("worker", "w3"), ("job", "2", 1), ("log", "2"), ("job", "3", 0), ("log", "3"), ("task", "3"),
    }  # fmt: skip
    assert await log(db, 2) == [("created", None), ("started", 0), ("started", 1)]
    assert await log(db, 3) == [("created", None), ("started", 0)]


async def test_a_claimed_job_is_told_of_its_own_messages(db):
    await create(db, workers=2)
    await send(db, 1, [(2, 1), (3, 1)])
    await send(db, 2, [(2, 1), (2, 0)])
    await register(db, "w3")
    assert [(job.task_id, job.job, job.messages) for job in await claim(db, "w3", limit=2)] == [(2, 1, 2), (3, 0, 0)]


async def add_pod(db, name, task_id=None, job=None, state="placed"):
    statement = """insert into ado.pods (name, decision, namespace, task_id, job, state)
                   select $1, count(*) + 1, 'ns', $2, $3, $4 from ado.pods"""
    await raw(db, statement, name, task_id, job, state)


async def test_a_pod_claims_its_own_job_once_and_no_other(db):
    await create(db, workers=2)
    await add_pod(db, "pod-1", 3, 1)
    await add_pod(db, "pod-2")
    await register(db, "pod-1")
    given, changed = await changes(db, claimed(db, "pod-1"))
    assert given == [(3, 1)]
    assert changed == {("worker", "pod-1"), ("pod", "pod-1"), ("job", "3", 1), ("log", "3"), ("task", "3")}
    await closed(db, finish(3, "released", job=1, worker_id="pod-1"))
    assert await claimed(db, "pod-1") == []


async def test_a_warm_pod_claims_one_job(db):
    await create(db)
    for name in ("pod-1", "pod-2"):
        await add_pod(db, name)
    await register(db, "pod-1")
    assert await claimed(db, "pod-1") == [(2, 1)]
    assert await claimed(db, "pod-1") == []


async def test_a_worker_claims_several_jobs_beside_pods(db):
    await create(db, workers=2)
    for name in ("pod-1", "pod-2"):
        await add_pod(db, name)
    await register(db, "w3")
    assert await claimed(db, "w3") == [(2, 1), (3, 0), (3, 1)]


@pytest.mark.parametrize(
    "change",
    [
        "update ado.pods set state = 'ending'",
        "update ado.jobs set run_after = now() + interval '1 hour' where status = 'queued'",
        "update ado.jobs set status = 'cancelled', finished_at = now() where status = 'queued'",
        "update ado.workers set capabilities = '{}' where worker_id = 'pod-1'",
        "update ado.workers set cpu = 0.5 where worker_id = 'pod-1'",
    ],
)
async def test_a_pod_claims_nothing_while_its_job_cannot_start_there(db, change):
    await create(db, resources=ResourceAmounts(1, 1))
    await add_pod(db, "pod-1", 3, 0)
    await register(db, "pod-1")
    await raw(db, change)
    assert await claimed(db, "pod-1") == []


async def test_a_pod_waits_for_the_limit_of_its_user(db):
    anna = await users.add(
        db, "anna", "developer", email=None, external_id=None, limits=UserLimits(running=0), actor=None
    )
    await create(db, actor=Actor("tasks.create", f"user-{anna.user_id}", None, name="anna"))
    await add_pod(db, "pod-1", 3, 0)
    await register(db, "pod-1")
    assert await claimed(db, "pod-1") == []
    await users.change(db, anna.user_id, limits=UserLimits(running=1), actor=None)
    assert await claimed(db, "pod-1") == [(3, 0)]


# Ends


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


async def send(db, message_id, keys, *, sent_in=1, delivered=False, by=None):
    """Store a message for jobs, the last for each of them."""
    statement = """
        insert into ado.messages (message_id, task_id, text, sender_name, created_at)
        overriding system value values ($1, $2, 'hello', $3, now())"""
    await raw(db, statement, message_id, keys[0][0], by)
    for task_id, job in keys:
        statement = """
            insert into ado.message_jobs (message_id, task_id, job, sent_in, delivered_at)
            values ($1, $2, $3, $4, case when $5 then now() end)"""
        await raw(db, statement, message_id, task_id, job, sent_in, delivered)
        statement = "update ado.jobs set last_message_id = $1 where task_id = $2 and job = $3"
        await raw(db, statement, message_id, task_id, job)


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
    names = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens", "costUsd", "other")
    used = finish(1, usage=dict(zip(names, (1, 2, 3, 4, 5, 6), strict=True)))
    odd = finish(1, job=1, usage={"inputTokens": "many", "outputTokens": -1})
    await jobs.finish_all(db, [used, odd, finish(2, worker_id="w2")])
    amounts = "input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd"
    rows = await raw(db, f"select job, {amounts} from ado.attempt_usage order by job")
    assert [tuple(row) for row in rows] == [(0, 1, 2, 3, 4, 5), (1, None, -1, None, None, None)]
    noted = await raw(db, "select kind, amount from ado.metric_notes where measure in ('tokens', 'cost')")
    assert {row["kind"]: row["amount"] for row in noted} == {
        "input": 1, "output": 2, "cache_read": 3, "cache_write": 4, "": 5,
    }  # fmt: skip


# Heartbeats


def beat(db, worker_id="w1", session="session-w1-i1", listed=()):
    return workers.heartbeat(
        db, worker_id=worker_id, session=session, listed=listed, load=None, at=None, stopped=False, lease_seconds=LEASE
    )


async def test_a_heartbeat_needs_its_worker_and_session(db):
    assert await changes(db, beat(db, session="other")) == (None, set())
    assert await changes(db, beat(db, worker_id="w9")) == (None, set())
    await raw(db, "update ado.workers set session = 's'")
    _, changed = await changes(db, beat(db, session="s"))
    assert changed == {("worker", "w1"), ("job", "1", 0), ("job", "1", 1)}


async def test_a_heartbeat_renews_the_running_jobs_that_it_lists_and_counts_the_others(db):
    await raw(db, "update ado.jobs set missed_heartbeats = 5 where worker_id = 'w1'")
    await raw(db, "update ado.jobs set lease_expires_at = 'epoch' where status = 'running'")
    listed = [(1, 0, 1), (1, 2, 1), (2, 0, 1), (2, 1, 1), (1, 1, 9)]
    renewal, changed = await changes(db, beat(db, listed=listed))
    found = {job.key: (job.listed, job.missed_heartbeats) for job in renewal.held}
    assert found == {(1, 0, 1): (True, 0), (1, 1, 1): (False, 6)}
    assert changed == {("worker", "w1"), ("job", "1", 0), ("job", "1", 1)}
    renewed = await raw(db, "select task_id, job from ado.jobs where lease_expires_at > now()")
    assert [tuple(row) for row in renewed] == [(1, 0)]
    await closed(db, finish(1))
    assert [job.key for job in (await beat(db)).held] == [(1, 1, 1)]


async def test_a_worker_is_idle_while_it_runs_nothing_itself(db):
    await register(db, "w3")
    await jobs.finish_all(db, [finish(1, job=0), finish(1, job=1)])
    await raw(db, "update ado.workers set idle_since = 'epoch'")
    for number in (1, 2, 3):
        await beat(db, f"w{number}", f"session-w{number}-i1")
    rows = await raw(db, "select worker_id from ado.workers where idle_since = 'epoch' order by 1")
    assert [row["worker_id"] for row in rows] == ["w1", "w3"]


# Output


async def test_batches_go_to_their_own_jobs_and_logs(db):
    first, second = batch(1, data=b"one", events=2), batch(2, data=b"two", worker_id="w2")
    (one, two), changed = await changes(db, events.append(db, [first, second], LEASE))
    assert (one.base, two.base) == (4, 2)
    assert changed == {("job", "1", 0), ("log", "1"), ("job", "2", 0), ("log", "2")}
    rows = await raw(db, "select task_id, job, seq, data from ado.events where type = 'output' order by task_id, seq")
    assert [tuple(row) for row in rows] == [(1, 0, 5, b"one"), (1, 0, 6, b"one"), (2, 0, 3, b"two")]
    await log(db, 1)


@pytest.mark.parametrize("wrong", [{"task_id": 2}, {"job": 2}, {"attempt": 2}, {"worker_id": "w2"}, {"number": 2}])
async def test_a_batch_needs_its_job_attempt_worker_and_number(db, wrong):
    assert await changes(db, events.append(db, [replace(batch(1), **wrong)], LEASE)) == ([None], set())
    assert await events.append(db, [batch(1)], LEASE) != [None]
    await closed(db, finish(1))
    assert await changes(db, events.append(db, [batch(1, 2)], LEASE)) == ([None], set())


async def test_a_batch_needs_the_credential_of_its_attempt(db):
    await raw(db, "update ado.jobs set credential_digest = $1 where task_id = 1 and job = 0", DIGEST)
    for wrong in (None, tokens.digest("other")):
        refused = replace(batch(1), credential=wrong)
        assert await changes(db, events.append(db, [refused], LEASE)) == ([None], set())
    assert await events.append(db, [replace(batch(1), credential=DIGEST)], LEASE) != [None]


async def test_limits_refuse_output_first_and_then_other_events(db):
    output, (at,) = batch(1), [event.at for event in batch(1).events]
    other = replace(output, events=[NewEvent("progress", None, at, None, "{}")])

    async def stored(given, number, **limits):
        return await events.append(db, [replace(given, number=number)], LEASE, **limits) != [None]

    assert await stored(output, 1, output_limit=1, event_limit=200)
    assert not await stored(output, 2, output_limit=100, event_limit=200)
    assert await stored(other, 2, output_limit=100, event_limit=200)
    assert not await stored(other, 3, event_limit=200)
    assert await stored(replace(output, events=[]), 3, output_limit=0, event_limit=0)


async def test_an_empty_batch_uses_up_its_number_and_writes_no_log(db):
    (stored,), changed = await changes(db, events.append(db, [batch(1, events=0)], LEASE))
    assert stored == StoredBatch(0, stored.stored_at)
    assert changed == {("job", "1", 0)}


# Receipts and questions


async def test_a_receipt_is_stored_once_for_its_own_job(db):
    await send(db, 1, [(1, 0), (1, 1)])
    await send(db, 2, [(2, 0)])
    await send(db, 3, [(1, 0)])
    receipt = HeldAttempt(1, 0, 1, "w1", None)
    assert await changes(db, messages.deliver(db, receipt, [1, 2])) == (True, {("message 1", "1", 0), ("log", "1")})
    assert await changes(db, messages.deliver(db, receipt, [1, 2])) == (True, set())
    assert (await log(db, 1))[-1] == ("delivered", 0)


@pytest.mark.parametrize("wrong", [{"task_id": 2}, {"job": 2}, {"attempt": 2}, {"worker_id": "w2"}])
async def test_a_receipt_needs_its_job_attempt_and_worker(db, wrong):
    await send(db, 1, [(1, 0)])
    right = HeldAttempt(1, 0, 1, "w1", None)
    assert await changes(db, messages.deliver(db, replace(right, **wrong), [1])) == (False, set())
    await closed(db, finish(1))
    assert await changes(db, messages.deliver(db, right, [1])) == (False, set())


async def test_a_receipt_needs_the_credential_of_its_attempt(db):
    await raw(db, "update ado.jobs set credential_digest = $1 where task_id = 1 and job = 0", DIGEST)
    for credential, accepted in ((None, False), (tokens.digest("other"), False), (DIGEST, True)):
        assert await messages.deliver(db, HeldAttempt(1, 0, 1, "w1", credential), []) is accepted


def ask(db, task_id=1, job=0, *, attempt=1, key="k", limit=9, timeout=None, asker=None, **request):
    new = {
        "kind": "text",
        "text": "which?",
        "options": [],
        "default_answer": None,
        "timeout_seconds": timeout,
    } | request
    return questions.ask(db, NewQuestion(task_id, job, attempt, key, **new), limit, asker)


def answer(db, question, *, remember=False):
    actor = Actor("a", "user-1", name="anna")
    return questions.answer(db, question.question_id, choice=None, text="this", actor=actor, remember=remember)


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


REQUEST = {"kind": "permission", "options": [{"id": "allow", "label": "Allow"}], "tool": "Bash"}
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
    async with asyncio.timeout(20):
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


# Locks


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
