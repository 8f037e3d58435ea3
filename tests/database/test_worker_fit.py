"""What keeps a worker from a job is decided by one function, ado.lacks; whether it waits for its agent, by another."""

from contextlib import closing

import psycopg
import pytest
from support.records import claim, create, register

from app.spawner.decide import can_run
from db import jobs
from db.model import Demand, ResourceAmounts
from db.spawning import FleetWorker, SpawnerDatabase
from db.sync_database import SyncPool

LACKS = "select ado.lacks(%s::text[], %s, %s, %s, %s::text[], %s, %s, %s)"


@pytest.fixture
def connection(dsn):
    with psycopg.connect(dsn) as opened:
        yield opened


def worker(capabilities, free):
    return FleetWorker("w", "idle", None, None, frozenset(capabilities), 1, free, 0, 0)


@pytest.mark.parametrize("needs", [[], ["a"], ["a", "b"]])
@pytest.mark.parametrize("offered", [[], ["a"], ["b", "c", "a"]])
@pytest.mark.parametrize("free", [(1, 2, 3), (0.5, 2, 3), (1, 1, 3), (1, 2, 2.5), (9, 9, 9)])
def test_a_spawners_plan_and_the_statements_agree_on_who_can_run_a_job(connection, needs, offered, free):
    ((lacks,),) = connection.execute(LACKS, [needs, 1, 2, 3, offered, *free]).fetchall()
    assert (lacks == []) == can_run(
        Demand(frozenset(needs), ResourceAmounts(1, 2, 3), 1), worker(offered, ResourceAmounts(*free))
    )


def test_everything_that_a_worker_lacks_is_named_and_what_is_offered_without_a_limit_is_not(connection):
    every = [["a"], 2, 2, 2, ["b"], 1, 1, 1]
    assert connection.execute(LACKS, every).fetchone() == (["capability", "cpu", "memory", "gpu"],)
    assert connection.execute(LACKS, [*every[:4], None, None, None, None]).fetchone() == ([],)


def test_the_rule_becomes_a_part_of_the_statement_that_asks_it(connection):
    """Otherwise each row would cost the call of a function."""
    plan = connection.execute(
        """
        explain (verbose) select 1 from ado.jobs j cross join ado.workers w
        where ado.lacks(j.needs, j.cpu, j.memory, j.gpu, w.capabilities, w.cpu, w.memory, w.gpu) = '{}'
        """
    ).fetchall()
    assert "lacks" not in str(plan)
    assert "<@" in str(plan)


async def test_a_spawner_of_processes_sees_the_jobs_that_its_workers_can_run(db, dsn):
    await create(db, workers=3, resources=ResourceAmounts(cpu=2))
    await create(db, resources=ResourceAmounts(cpu=9))
    await create(db, requires=("gpu-box",))
    pool = SyncPool(dsn, size=1)
    pool.open()
    with closing(pool), SpawnerDatabase(pool).deciding("local") as decider:
        found = decider.snapshot({"shell"}, ResourceAmounts(8, 2**34)).demands
    assert [(demand.needs, demand.resources.cpu, demand.jobs) for demand in found] == [({"shell"}, 2, 3)]


async def test_the_job_of_a_pod_waits_for_a_worker_that_is_large_enough(db):
    task_id = await create(db, resources=ResourceAmounts(cpu=6))
    await register(db, "pod-1", resources=ResourceAmounts(5, 2**34))
    await db._pool.fetch(
        """
        insert into ado.pods (name, namespace, state, decision, task_id, job)
        values ('pod-1', 'n', 'placed', 1, $1, 0)
        """,
        task_id,
    )
    assert await claim(db, "pod-1") == []
    await register(db, "pod-1", resources=ResourceAmounts(6, 2**34))
    assert [job.task_id for job in await claim(db, "pod-1")] == [task_id]


async def test_every_place_agrees_which_jobs_wait_for_an_unhealthy_agent(db):
    await db._pool.fetch(
        "insert into ado.agent_failures (agent, failures, reason, task_id, job, attempt, probe_after) "
        "values ('claude-code', 5, 'auth', 1, 0, 1, now() + interval '1 hour')"
    )
    await register(db, capabilities=("claude-code", "codex", "shell"))
    for agent in ("claude-code", "codex", "shell"):
        for requires in ((), ("claude-code",), ("shell",)):
            await create(db, agent=agent, requires=requires)
    rows = await db._pool.fetch(
        """
        select j.task_id, ado.needs_one_of(j.needs, array['claude-code']) as waits, ado.may_try(j.needs) as may_try,
               o.unmet is not distinct from 'agent_unhealthy' as is_said
        from ado.jobs j join ado.obstacles o using (task_id, job)
        """
    )
    waiting = {row["task_id"] for row in rows if row["waits"]}
    assert waiting == {row["task_id"] for row in rows if not row["may_try"]}
    assert waiting == {row["task_id"] for row in rows if row["is_said"]}
    assert sum(demand.jobs for demand in await jobs.ready_demands(db)) == len(rows) - len(waiting)
    assert {job.task_id for job in await claim(db)} == {row["task_id"] for row in rows} - waiting
    assert 0 < len(waiting) < len(rows)
