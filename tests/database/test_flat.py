"""What is read often reads no more rows when ten times as many tasks have ended.

Rows are counted in the plans that Postgres ran, so neither the machine's speed nor its load matters.
"""

import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import asyncpg
import orjson
import pytest
from support.postgres import dsn_of, execute

from db import audit, queries, questions, tasks, tokens, users, workers
from db.paging import ALL
from db.tasks import TaskFilter
from tests.bench.flat_calls import LOOPS
from tests.bench.history import Size, fill


async def page(db, wanted, before=None):
    await tasks.page(db, wanted, limit=20, bytes_=10**7, before=before)


async def entries(db, account=None, target=None):
    await audit.listing(db, account=account, target=target, since=None, before=None, limit=100)


SMALL, LARGE = 1_000, 10_000
SLACK = 250  # rows of tables that hold a day or a setting
FILTERS = {
    "all": {},
    "running": {"statuses": ["running"]},
    "paused": {"statuses": ["paused"]},
    "a status that no task has": {"statuses": ["none"]},
    "a rare label": {"labels": {"rare": "yes"}},
    "a rare label and a status": {"labels": {"rare": "yes"}, "statuses": ["succeeded"]},
    "a label that no task has": {"labels": {"none": "x"}},
    "the name of a rare label": {"label_names": ["rare"]},
    "a common agent": {"agents": ["claude-code"]},
    "two agents": {"agents": ["claude-code", "shell"]},
    "an agent that no task has": {"agents": ["codex"]},
    "an agent that no running task has": {"agents": ["claude-code"], "statuses": ["running"]},
    "a creator": {"creators": ["user-1"]},
    "a creator of old tasks": {"creators": ["user-10"]},
    "a creator without running tasks": {"creators": ["user-1"], "statuses": ["running"]},
    "a creator of nothing": {"creators": ["user-99"]},
    "since a minute": {"since": datetime.now(UTC) - timedelta(minutes=1)},
}
READS = {
    **{f"tasks: {name}": lambda db, wanted=wanted: page(db, TaskFilter(**wanted)) for name, wanted in FILTERS.items()},
    "tasks: a page far back": lambda db: page(db, TaskFilter(), before=200),
    "one task": lambda db: tasks.get(db, 500),
    "settling a task": lambda db: tasks.settle(db, 500),
    "stopping siblings": lambda db: tasks.stop_siblings(db, 500),
    "watched tasks of a creator": lambda db: tasks.watched(
        db, newest=None, known=[], late_ids=100, limit=100, creator="user-1"
    ),
    "workers": lambda db: workers.page(db, stopped_within=0),
    "workers of the system's events": lambda db: workers.listing(db, stopped_within=60),
    "idle workers": lambda db: workers.page(db, "idle"),
    "prune: one range, under the lock": lambda db: db.many("old_ranges", seconds=0.0, only=0),
    "open questions": lambda db: questions.page(db, state="open", task_id=None, creator=None, after=0, limit=ALL),
    "tokens": tokens.listing,
    "users": users.listing,
    "the audit": entries,
    "the audit of a user": lambda db: entries(db, account="user-1"),
    "the audit of a user who did nothing": lambda db: entries(db, account="user-99"),
    "the audit of a task": lambda db: entries(db, target="task-7"),
}
GROWING = {  # a day of stopped workers and pods, and each partition
    "scrape: workers", "scrape: sizes", "janitor: partitions", "prune: old ranges, none", "health: waiting jobs",
}  # fmt: skip


class CountingDatabase:
    """Stands in for ``Database``: runs each statement once, and counts the rows that its plan read."""

    def __init__(self, connection):
        self._connection = connection
        self.rows = 0

    async def many(self, name, /, **values):
        query = queries.load()[name]
        arguments = query.arguments(values)
        transaction = self._connection.transaction()
        await transaction.start()
        statement = f"explain (analyze, timing off, format json) {query.numbered}"
        plan = orjson.loads(await self._connection.fetchval(statement, *arguments))[0]["Plan"]
        await transaction.rollback()
        self.rows += read(plan)
        return await self._connection.fetch(query.numbered, *arguments)

    async def optional(self, name, /, **values):
        return next(iter(await self.many(name, **values)), None)

    async def one(self, name, /, **values):
        return (await self.many(name, **values))[0]

    def notify(self, hint):
        pass


def read(plan):
    """Return how many rows the scans of a plan have read, those that they left out included."""
    rows = 0
    if "Relation Name" in plan or "Index Name" in plan:
        left_out = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        rows = (plan["Actual Rows"] + left_out) * plan["Actual Loops"]
    return rows + sum(map(read, plan.get("Plans", ())))


@pytest.fixture(scope="module")
def histories(pg_server):
    """Two databases, one with ten times as many ended tasks as the other."""
    names = [f"ado_{os.getpid()}_flat_{size}" for size in (SMALL, LARGE)]  # another process of the run has its own
    admin = dsn_of(pg_server, pg_server.maintenance_dbname)
    for name, size in zip(names, (SMALL, LARGE), strict=True):
        execute(admin, f'create database "{name}"')
        fill(dsn_of(pg_server, name), Size(size, 100, 10, size // 100))
    yield [dsn_of(pg_server, name) for name in names]
    for name in names:
        execute(admin, f'drop database "{name}" with (force)')


async def rows_read(dsn, run):
    async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        db = CountingDatabase(connection)
        await run(db)
        return db.rows


@pytest.mark.parametrize("name", READS)
async def test_a_call_reads_no_more_of_a_long_history(histories, name):
    small, large = [await rows_read(dsn, READS[name]) for dsn in histories]
    assert large <= 1.5 * small + SLACK


@pytest.mark.parametrize("name", sorted(LOOPS.keys() - GROWING - {"monitor: a whole step"}))
async def test_a_step_of_a_loop_reads_no_more_of_a_long_history(histories, name):
    small, large = [await rows_read(dsn, lambda db: LOOPS[name](SimpleNamespace(db=db))) for dsn in histories]
    assert large <= 1.5 * small + SLACK
