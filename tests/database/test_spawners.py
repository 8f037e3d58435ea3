"""The rows of spawners: what is written, when one is silent, and which silent ones are shown."""

import asyncio
from contextlib import closing

import psycopg
import pytest
from support.records import MACHINE, claim, create, register

from app.spawner.decide import SpawnerLimits, WorkerSpec, decide
from app.spawner.heartbeat import SpawnerHeartbeat
from db import workers
from db.connect import run
from db.errors import DatabaseUnavailable
from db.spawning import SpawnerDatabase, SpawnerRegistration
from db.sync_database import SyncPool


@pytest.fixture
def pool(dsn):
    opened = SyncPool(dsn, size=2)
    opened.open()
    with closing(opened):
        yield opened


def aged(dsn, spawner_id, age):
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update ado.spawners set last_heartbeat_at = now() - %s::interval where spawner_id = %s", [age, spawner_id]
        )


async def shown(db):
    return {spawner.spawner_id: spawner for spawner in await workers.spawners(db)}


async def test_a_row_has_the_capabilities_and_the_problem_of_a_spawner(db, pool):
    row = SpawnerRegistration(pool, "one", "local", "here", 8)
    row.write({"shell", "codex"}, "no space")
    found = (await shown(db))["one"]
    assert (found.state, found.backend, found.host, found.max_workers) == ("running", "local", "here", 8)
    assert (found.capabilities, found.problem) == (["codex", "shell"], "no space")
    row.write({"shell"}, None)
    found = (await shown(db))["one"]
    assert (found.capabilities, found.problem) == (["shell"], None)
    row.remove()
    assert await shown(db) == {}


async def test_a_silent_spawner_is_shown_until_another_of_its_backend_runs(db, dsn, pool):
    SpawnerRegistration(pool, "old", "local", "here", 8).write({"shell"}, None)
    aged(dsn, "old", "31 s")
    SpawnerRegistration(pool, "pods", "kubernetes", "there", 8).write({"shell"}, None)
    assert {name: spawner.state for name, spawner in (await shown(db)).items()} == {"old": "silent", "pods": "running"}
    SpawnerRegistration(pool, "new", "local", "here", 8).write({"shell"}, None)
    assert set(await shown(db)) == {"new", "pods"}


async def test_a_row_is_forgotten_a_day_after_its_spawner(db, dsn, pool):
    SpawnerRegistration(pool, "old", "local", "here", 8).write({"shell"}, None)
    aged(dsn, "old", "25 h")
    SpawnerRegistration(pool, "pods", "kubernetes", "there", 8).write({"shell"}, None)
    assert set(await shown(db)) == {"pods"}


async def test_a_heartbeat_writes_every_five_seconds_and_survives_an_outage(db, dsn, pool):
    heartbeat = SpawnerHeartbeat(SpawnerRegistration(pool, "one", "local", "here", 8))
    heartbeat.beat({"shell"})
    heartbeat.beat({"codex"})
    assert (await shown(db))["one"].capabilities == ["shell"]
    heartbeat.stop()
    assert await shown(db) == {}


def test_an_outage_of_the_database_skips_only_the_writing(caplog):
    with closing(SyncPool("postgresql://nobody@127.0.0.1:1/none?connect_timeout=1", size=1)) as pool:
        heartbeat = SpawnerHeartbeat(SpawnerRegistration(pool, "one", "local", "here", 8))
        heartbeat.beat({"shell"})
        heartbeat.stop()
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "the end of the spawner was not recorded: the database does not answer"
    ]


class FailsOnce:
    """A row whose first write meets a database that is away."""

    def __init__(self):
        self.writes = 0

    def write(self, capabilities, problem):
        self.writes += 1
        if self.writes == 1:
            raise DatabaseUnavailable("away")


def test_the_first_heartbeat_after_a_failed_one_writes_without_delay():
    row = FailsOnce()
    heartbeat = SpawnerHeartbeat(row)
    for _ in range(3):
        heartbeat.beat({"shell"})
    assert row.writes == 2


@pytest.mark.parametrize("statement", ["spawner_workers", "list_scales", "ready_demands"])
async def test_a_job_that_is_claimed_while_a_spawner_reads_starts_no_worker(db, pool, monkeypatch, statement):
    await create(db)
    await register(db, slots=1)
    loop = asyncio.get_running_loop()

    def run_and_claim(connection, ran, **values):
        rows = run(connection, ran, **values)
        if ran == statement:
            assert asyncio.run_coroutine_threadsafe(claim(db), loop).result(20)
        return rows

    monkeypatch.setattr("db.spawning.run", run_and_claim)
    with SpawnerDatabase(pool).deciding("process") as decider:
        snapshot = await asyncio.to_thread(decider.snapshot, {"shell"}, MACHINE)
    assert decide(snapshot, WorkerSpec(frozenset({"shell"}), MACHINE), SpawnerLimits(), "process").start == 0
