"""What a write changed, and the writes of workers and people with the values that most tests need."""

import asyncio

from db import questions, tokens, workers
from db.actor import Actor
from db.questions import NewQuestion
from support.records import LEASE, claim

SNAPSHOT = """
    select 'job', task_id::text, job, j.xmin || j::text from ado.jobs j
    union all select 'log', task_id::text, null, l.xmin || l::text from ado.task_logs l
    union all select 'task', task_id::text, null, t.xmin || t::text from ado.tasks t
    union all select 'worker', worker_id, null, w.xmin || w::text from ado.workers w
    union all select 'pod', name, null, p.xmin || p::text from ado.pods p
    union all select 'message ' || message_id, task_id::text, job, m.xmin || m::text from ado.message_jobs m
    union all select 'question', question_id::text, null, q.xmin || q::text from ado.questions q
    union all select 'input', task_id::text, job, i.xmin || i::text from ado.inputs i
    union all select 'input from ' || begins_at, task_id::text, job, c.xmin || c::text from ado.input_chunks c
    union all select 'file', file_id, null, f.xmin || f::text from ado.files f
    union all select 'piece', file_id, number, c.xmin || c::text from ado.file_chunks c"""
REQUEST = {"kind": "permission", "options": [{"id": "allow", "label": "Allow"}], "tool": "Bash"}
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


async def until_blocked(db):
    """Wait until a statement waits for a lock."""
    blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    async with asyncio.timeout(60):
        while (await raw(db, blocked))[0]["count"] == 0:
            await asyncio.sleep(0.01)


async def log(db, task_id):
    """Return type and job of every event of a log that has no gap."""
    rows = await raw(db, "select seq, type, job from ado.events where task_id = $1 order by seq", task_id)
    (stored,) = await raw(db, "select last_seq from ado.task_logs where task_id = $1", task_id)
    assert [row["seq"] for row in rows] == list(range(1, stored["last_seq"] + 1))
    return [(row["type"], row["job"]) for row in rows]


async def claimed(db, worker_id, limit=100):
    given = await claim(db, worker_id, limit=limit)
    return None if given is None else [(job.task_id, job.job) for job in given]


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


def beat(db, worker_id="w1", session="session-w1-i1", listed=()):
    return workers.heartbeat(
        db, worker_id=worker_id, session=session, listed=listed, load=None, at=None, stopped=False, lease_seconds=LEASE
    )
