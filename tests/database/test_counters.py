"""Counters of the installation: exact under concurrency, never smaller, and free of names that callers invent."""

import asyncio

import psycopg
from support.records import claim, closed, create, finish, register

from app.metrics.installation import AGENTS, BUCKETS, REASONS
from db import counters, tasks


async def read(db):
    found = await counters.figures(db, AGENTS, REASONS)
    return {(one.measure, one.agent, one.kind, one.reason): (one.count, one.amount) for one in found}


async def ended(db, outcome="succeeded", **values):
    task_id = await create(db)
    await claim(db)
    await closed(db, finish(task_id, outcome, **values))
    await tasks.settle(db, task_id)
    return task_id


async def test_an_ended_task_counts_once_before_and_after_its_notes_are_added(db):
    await register(db)
    spent = {"inputTokens": 100, "outputTokens": 20, "costUsd": 0.5}
    await ended(db, usage=spent)
    await ended(db, "failed", reason="exit_nonzero", usage=spent)
    before = await read(db)
    assert before["finished", "shell", "succeeded", ""] == (1, 0)
    assert before["finished", "shell", "failed", "exit_nonzero"] == (1, 0)
    assert before["tokens", "shell", "input", ""] == (2, 200)
    assert before["cost", "shell", "", ""] == (2, 1.0)
    assert sum(count for (measure, *_), (count, _) in before.items() if measure == "run") == 2
    assert await counters.add_notes(db, AGENTS, REASONS) > 0
    assert await counters.add_notes(db, AGENTS, REASONS) == 0
    assert await read(db) == before


async def test_janitors_at_the_same_time_add_each_note_once(db, dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into ado.metric_notes (measure, agent, kind, amount) "
            "select 'tokens', case n % 2 when 0 then 'codex' else 'shell' end, 'input', 1 "
            "from generate_series(1, 2000) n"
        )
    added = await asyncio.gather(*(counters.add_notes(db, AGENTS, REASONS) for _ in range(6)))
    assert sum(added) == 2000
    assert (await read(db))["tokens", "codex", "input", ""] == (1000, 1000)


async def test_a_removed_task_stays_counted(db):
    await register(db)
    task_id = await ended(db)
    assert await tasks.remove(db, task_id, None) == "succeeded"
    assert (await read(db))["finished", "shell", "succeeded", ""] == (1, 0)


async def test_an_unknown_reason_and_an_unknown_agent_count_as_other(db):
    await register(db)
    await ended(db, "failed", reason="invented by a worker")
    expected = {("finished", "other", "failed", "other"): (1, 0)}
    for _ in range(2):
        found = await counters.figures(db, ["codex"], REASONS)
        kept = {(f.measure, f.agent, f.kind, f.reason): (f.count, f.amount) for f in found if f.measure == "finished"}
        assert kept == expected
        await counters.add_notes(db, ["codex"], REASONS)


async def test_a_negative_or_absurd_usage_lowers_no_counter(db):
    await register(db)
    await ended(db, usage={"inputTokens": -5, "outputTokens": 1e300})
    found = await read(db)
    assert ("tokens", "shell", "input", "") not in found
    assert found["tokens", "shell", "output", ""] == (1, 1e12)


def test_every_bucket_of_the_database_is_published(dsn):
    with psycopg.connect(dsn) as connection:
        for bound in BUCKETS:
            assert connection.execute("select ado.metric_bucket(%s)", [bound]).fetchone() == (bound,)
        assert connection.execute("select ado.metric_bucket(0.5001)").fetchone() == (1.0,)
