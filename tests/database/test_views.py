"""What an operator reads in the views, as the reader's role."""

import contextlib

import psycopg
import pytest
from psycopg.rows import dict_row
from support.records import claim, create, register

from db.model import ResourceAmounts


def read(dsn, query):
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        connection.execute("set session authorization ado_readonly")
        return connection.execute(query.encode()).fetchall()


def pending(dsn):
    return {(row["job_id"], row["worker_id"]): (row["unmet"], row["help"]) for row in
            read(dsn, "select * from ado.why_pending")}  # fmt: skip


async def test_why_pending_names_the_lack_of_any_worker(db, dsn):
    await create(db, requires=("gpu-box",))
    assert pending(dsn) == {
        ("task-1/0", None): ("no_live_worker", "start a worker that offers gpu-box, shell"),
    }


@pytest.mark.parametrize(
    ("wish", "change", "unmet", "words"),
    [
        ({}, "", None, ["nothing: it will be claimed"]),
        ({"requires": ("gpu-box",)}, "", "capability", ["missing: gpu-box"]),
        ({"agent": "codex", "requires": ("gpu-box",)}, "", "capability", ["missing: codex, gpu-box"]),
        ({}, "last_heartbeat_at = now() - interval '20 s'", "suspect", ["its last heartbeat was at"]),
        ({}, "draining = true", "draining", ["takes no new jobs"]),
        ({}, "last_heartbeat_at = null", "starting", ["not registered yet"]),
        ({"resources": ResourceAmounts(cpu=9)}, "", "too_large", ["cpu: 9 asked, 8 there"]),
        ({"resources": ResourceAmounts(memory=2**40)}, "", "too_large", ["memory: 1099511627776 asked"]),
        ({"resources": ResourceAmounts(gpu=1)}, "", "too_large", ["gpu: 1 asked, 0 there"]),
        (
            {"agent": "codex", "resources": ResourceAmounts(cpu=9, gpu=2)},
            "draining = true",
            "capability",
            ["missing: codex", "takes no new jobs", "cpu: 9 asked", "gpu: 2 asked"],
        ),
    ],
)
async def test_why_pending_names_every_requirement_that_a_worker_does_not_meet(db, dsn, wish, change, unmet, words):
    await register(db)
    await create(db, **wish)
    if change:
        with psycopg.connect(dsn) as connection:
            connection.execute(f"update ado.workers set {change}".encode())
    ((found, help_),) = pending(dsn).values()
    assert found == unmet
    assert help_.count("; ") == len(words) - 1
    assert [word for word in words if word not in help_] == []


async def test_why_pending_names_the_time_of_the_next_attempt(db, dsn):
    await register(db)
    await create(db)
    with psycopg.connect(dsn) as connection:
        connection.execute("update ado.jobs set run_after = now() + interval '1 minute'")
    ((found, help_),) = pending(dsn).values()
    assert found == "retry_delay"
    assert help_.startswith("wait until ")


async def test_why_pending_distinguishes_taken_slots_from_held_resources(db, dsn):
    await register(db, slots=1)
    await register(db, "w2", slots=2)
    await create(db, resources=ResourceAmounts(cpu=6))
    await create(db, resources=ResourceAmounts(cpu=6))
    assert len(await claim(db, "w1")) == 1
    assert len(await claim(db, "w2")) == 1
    await create(db, resources=ResourceAmounts(cpu=6))
    found = pending(dsn)
    assert found["task-3/0", "w1"][0] == "slots"
    assert found["task-3/0", "w1"][1] == (
        "all of its 1 slots are taken; its running jobs hold what this one needs, cpu: 6 asked, 2 free"
    )
    assert found["task-3/0", "w2"] == ("resources", "its running jobs hold what this one needs, cpu: 6 asked, 2 free")


async def test_why_pending_shows_the_oldest_hundred_against_every_live_worker(db, dsn):
    await register(db)
    await register(db, "w2")
    await create(db, workers=120, requires=("none-such",))
    found = pending(dsn)
    assert len(found) == 200
    assert {worker for _, worker in found} == {"w1", "w2"}
    assert max(int(job.rpartition("/")[2]) for job, _ in found) == 99


async def test_a_reader_sees_old_transactions_of_others_in_the_databases_health(db, dsn):
    with contextlib.closing(psycopg.connect(dsn)) as other:
        other.execute("select count(*) from ado.tasks")
        (first,) = read(dsn, "select * from ado.database_health")
        (second,) = read(dsn, "select * from ado.database_health")
        other.rollback()
    assert 0 < first["oldest_transaction_seconds"] < second["oldest_transaction_seconds"]
    assert first["last_monitor_tick_seconds"] >= 0
