"""What the statements of a job pay for: one plan for all calls, few planned rows, and no rule that does not apply."""

import asyncpg
import orjson
import pytest
from support.records import claim, create, finish, new_task, register

from db import jobs, queries, tasks
from db.database import Database

OF_A_JOB = ("create_tasks", "claim_jobs", "finish_jobs", "settle_tasks", "ready_demands")


@pytest.fixture
async def lone_db(dsn):
    opened = await Database.open(dsn, size=1)
    yield opened
    await opened.close()


async def run_one(db):
    await create(db)
    await jobs.ready_demands(db, ["shell"])
    (job,) = await claim(db)
    assert await jobs.finish_all(db, [finish(job.task_id)]) != [None]
    assert await tasks.settle_all(db, [job.task_id]) == {job.task_id: "succeeded"}


async def test_the_statements_of_a_job_are_not_planned_anew_for_each(lone_db):
    await tasks.create_all(lone_db, [new_task(workers=300)])
    await register(lone_db, slots=400)
    wide = await claim(lone_db, limit=300)
    await jobs.finish_all(lone_db, [finish(job.task_id, job=job.job) for job in wide])
    await tasks.settle_all(lone_db, [wide[0].task_id])
    for _ in range(12):
        await run_one(lone_db)
    rows = await lone_db._pool.fetch("select statement, generic_plans, custom_plans from pg_prepared_statements")
    plans = {row["statement"]: (row["generic_plans"] > 5, row["custom_plans"] <= 5) for row in rows}
    assert {name: plans[queries.load()[name].numbered] for name in OF_A_JOB} == dict.fromkeys(OF_A_JOB, (True, True))


@pytest.mark.parametrize("name", ["finish_jobs", "settle_tasks"])
async def test_an_end_is_planned_for_few_rows_whatever_the_statistics_say(dsn, name):
    """Postgres takes a table without statistics, as that of the settings is at first, for some hundred rows."""
    query = queries.load()[name]
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("set plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare ended as {query.numbered}")
        nulls = ", ".join(["null"] * len(query.parameters))
        plan = orjson.loads(await connection.fetchval(f"explain (format json) execute ended({nulls})"))[0]["Plan"]
    finally:
        await connection.close()
    assert max(rows_of(plan)) <= 100


def rows_of(plan):
    """Return how many rows the steps of a plan that read other steps are made for."""
    found = [] if "Relation Name" in plan else [plan["Plan Rows"]]
    return found + [rows for part in plan.get("Plans", ()) for rows in rows_of(part)]


async def calls(dsn, statement, *arguments):
    """Return which functions a statement calls, but for those that the planner has put into it."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("set local track_functions = 'all'")
            await connection.fetch(statement, *arguments)
            rows = await connection.fetch("select funcname from pg_stat_xact_user_functions where schemaname = 'ado'")
    finally:
        await connection.close()
    return {row["funcname"] for row in rows}


LOOK = "select * from ado.ready_demands(array['shell'], 10)"
TAKE = "select * from ado.take_heads(array['shell'], 0, 0, 0, 10)"
FAILED = """
insert into ado.agent_failures (agent, failures, reason, task_id, job, attempt, probe_after)
values ('claude', $1, 'auth', 1, 0, 1, now())
"""


TARGET = """
insert into ado.notification_targets (url, format, events, mine, secret)
values ('http://127.0.0.1', 'json', array['succeeded'], false, '{}')
"""


async def test_a_claim_and_a_look_pay_for_an_agent_only_while_it_is_unhealthy(db, dsn):
    await create(db)
    assert await calls(dsn, LOOK) == {"ready_demands", "queue_groups"}
    assert await calls(dsn, TAKE) == {"take_heads"}
    await db._pool.fetch(FAILED, 1)
    assert await calls(dsn, LOOK) == {"ready_demands", "queue_groups"}
    assert await calls(dsn, TAKE) == {"take_heads"}
    await db._pool.fetch("update ado.control set agent_breaker = 3")
    await db._pool.fetch("update ado.agent_failures set failures = 3")
    assert "probe_jobs" in await calls(dsn, LOOK)
    assert {"lock_probes", "probe_jobs"} <= await calls(dsn, TAKE)


async def test_an_end_pays_for_notifications_only_where_there_is_a_target(db, dsn):
    settle = queries.load()["settle_tasks"].numbered
    await register(db)
    first, second = await create(db), await create(db)
    for job in await claim(db):
        await jobs.finish_all(db, [finish(job.task_id)])
    assert not {"notify_of_question", "notify_targets"} & await calls(dsn, settle, [first])
    await db._pool.fetch(TARGET)
    assert "notify_targets" in await calls(dsn, settle, [second])
