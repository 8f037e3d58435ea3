"""Samples of the installation: one a minute whoever writes it, what is in it, and the series that is made of them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from support.procedures import Real
from support.records import claim, closed, create, finish, register

from db import counters, samples, tasks

MINUTE = timedelta(minutes=1)


async def rows(db):
    return [dict(row) for row in await db._pool.fetch("select * from ado.samples order by at")]


async def stored(db, at, **values):
    """Store the sample of a minute."""
    columns = {"queued": 0, "running": 0, "paused": 0, "workers": 0, "succeeded": 0, "failed": 0, "cancelled": 0,
               "cost_usd": 0, "latency_p50_ms": None, "latency_p99_ms": None} | values  # fmt: skip
    names = ", ".join(columns)
    places = ", ".join(f"${number}" for number in range(2, len(columns) + 2))
    await db._pool.fetch(f"insert into ado.samples (at, {names}) values ($1, {places})", at, *columns.values())


async def test_of_many_janitors_one_writes_the_minute(db):
    before = datetime.now(UTC)
    written = await asyncio.gather(*(samples.take(db) for _ in range(20)))
    found = await rows(db)
    assert sum(written) == len(found) in (1, 2)  # 2 where the minute changed meanwhile
    assert found[0]["at"] >= before - MINUTE
    assert (found[0]["at"].second, found[0]["at"].microsecond) == (0, 0)


async def test_a_sample_counts_jobs_workers_ended_tasks_and_cost(db):
    await register(db)
    for outcome in ("succeeded", "succeeded", "failed"):
        task_id = await create(db)
        await claim(db)
        await closed(db, finish(task_id, outcome, usage={"costUsd": 0.25}))
        await tasks.settle(db, task_id)
    await counters.add_notes(db, ["shell"], [])
    await create(db)
    await claim(db)
    await create(db)
    task_id = await create(db)
    await tasks.cancel(db, task_id, None)
    assert await samples.take(db)
    (found,) = await rows(db)
    assert (found["queued"], found["running"], found["paused"]) == (1, 1, 0)
    assert (found["succeeded"], found["failed"], found["cancelled"]) == (2, 1, 1)
    assert float(found["cost_usd"]) == 0.75
    assert found["latency_p50_ms"] is found["latency_p99_ms"] is None


async def test_latency_is_from_an_agents_write_to_the_database_in_the_last_minute(db):
    await register(db)
    task_id = await create(db)
    await claim(db)
    await db._pool.fetch(
        """with written as (
               insert into ado.events (task_id, seq, job, attempt, type, stream, at, stored_at, data)
               select $1, 2 + n, 0, 1, 'output', 'stdout', t - make_interval(secs => n / 1000.0), t, 'x'::bytea
               from generate_series(1, 40) n, lateral (select now() - case when n > 30 then interval '2 minutes'
                                                                     else interval '1 second' end) s(t)
           )
           update ado.task_logs set last_seq = 42 where task_id = $1""",
        task_id,
    )
    assert await samples.take(db)
    (found,) = await rows(db)
    assert found["latency_p50_ms"] == pytest.approx(15.5, abs=0.01)
    assert found["latency_p99_ms"] == pytest.approx(29.71, abs=0.01)


async def test_a_series_adds_up_what_happened_and_takes_the_highest_of_what_was(db):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    await stored(db, start - MINUTE, succeeded=10, cost_usd=1)
    await stored(db, start, queued=5, succeeded=12, cost_usd=1.5, latency_p50_ms=3, latency_p99_ms=9)
    await stored(db, start + MINUTE, queued=2, succeeded=13, failed=1, cost_usd=1.5)
    await stored(db, start + 12 * MINUTE, running=7, workers=3, succeeded=20, failed=1, cost_usd=4)
    found = await samples.series(db, start, 300.0)
    assert [row["at"] for row in found] == [start, start + 10 * MINUTE]
    first, second = found
    assert (first["queued"], first["succeeded"], first["failed"], first["cost_usd"]) == (5, 3, 1, 0.5)
    assert (first["latency_p50_ms"], first["latency_p99_ms"]) == (3, 9)
    assert (second["running"], second["workers"], second["succeeded"], second["cost_usd"]) == (7, 3, 7, 2.5)
    assert second["latency_p99_ms"] is None


async def test_the_first_sample_of_all_counts_nothing_as_new(db):
    await stored(db, datetime(2026, 1, 1, tzinfo=UTC), succeeded=1000, cost_usd=500)
    (found,) = await samples.series(db, datetime(2025, 1, 1, tzinfo=UTC), 60.0)
    assert (found["succeeded"], found["cost_usd"]) == (0, 0)


async def test_samples_are_kept_for_fourteen_days(db):
    now = datetime.now(UTC)
    for age in (timedelta(days=13, hours=23), timedelta(days=14, hours=1), timedelta(days=400)):
        await stored(db, now - age)
    assert await samples.prune(db) == 2
    assert len(await rows(db)) == 1


@pytest.fixture
def real(dsn):
    made = Real(dsn)
    yield made
    made.close()


def test_a_series_has_few_enough_points_whatever_is_asked_for(real):
    real.sql(
        """insert into ado.samples (at, queued, running, paused, workers, succeeded, failed, cancelled, cost_usd)
           select date_trunc('minute', now()) - make_interval(mins => n), 0, 0, 0, 0, 100000 - n, 0, 0, 0
           from generate_series(0, 14 * 1440) n"""
    )
    # A window begins and ends inside a step, and the minute may change between the samples and the call: up to two
    # points fewer than the most.
    for value, step, most in (
        ({}, 300, 289),
        ({"hours": 1}, 60, 60),
        ({"hours": 336, "step": 60}, 660, 1834),
        ({"hours": 336, "step": 86400}, 86400, 15),
        ({"since": 7200, "step": 61}, 120, 61),
        ({"since": "1970-01-01T00:00:00Z"}, 4080, 298),
        ({"since": "2999-01-01T00:00:00Z"}, 60, 0),
    ):
        found = real.call("stats.series", **value)
        assert found.step_seconds == step, value
        assert most - 2 <= len(found.items) <= most, value
    whole = real.call("stats.series", hours=24, step=86400)
    assert sum(point.succeeded for point in whole.items) in (1439, 1440)  # the minute may have changed meanwhile
    for value in ({"hours": 0}, {"hours": 337}, {"step": 1}, {"step": "x"}, {"hours": -1}, {"since": -5}):
        assert real.call("stats.series", **value) == "invalid_input", value
