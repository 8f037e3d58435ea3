"""What agents used is kept by attempt and read by task, agent and day."""

from decimal import Decimal

import psycopg
import pytest
from psycopg.rows import dict_row
from support.records import claim, closed, create, finish, register


def usage(dsn):
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        connection.execute("set session authorization ado_readonly")
        return connection.execute("select * from ado.usage order by task_id").fetchall()


async def test_the_attempts_of_a_task_add_up(db, dsn):
    task_id = await create(db, retries=1)
    await register(db)
    for attempt, outcome in ((1, "failed"), (2, "succeeded")):
        await claim(db)
        spent = {"inputTokens": 100, "outputTokens": 20, "costUsd": 0.001}
        stored, _ = await closed(db, finish(task_id, outcome, attempt=attempt, usage=spent))
        assert stored.usage == spent
    (row,) = usage(dsn)
    assert (row["task"], row["agent"], row["attempts"]) == (f"task-{task_id}", "shell", 2)
    assert (row["input_tokens"], row["output_tokens"], row["cost_usd"]) == (200, 40, Decimal("0.002"))
    assert row["cache_read_tokens"] is None


@pytest.mark.parametrize("spent", [{"inputTokens": "many", "costUsd": None}, [1], "x", 5, {}])
async def test_a_value_that_is_no_number_counts_as_zero(db, dsn, spent):
    task_id = await create(db)
    await register(db)
    await claim(db)
    await closed(db, finish(task_id, usage=spent))
    (row,) = usage(dsn)
    assert (row["attempts"], row["input_tokens"], row["cost_usd"]) == (1, None, None)


async def test_an_attempt_without_usage_is_not_counted(db, dsn):
    task_id = await create(db)
    await register(db)
    await claim(db)
    await closed(db, finish(task_id))
    assert usage(dsn) == []
