"""Readers of a part of a log find it by an index, however long the log is."""

import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from support.records import create

from app.log.tail import Selection
from db import events, queries

LONG = 100_000
INSERT = """
    insert into ado.events (task_id, seq, job, attempt, type, stream, at, stored_at, data)
    select %(task)s, n, 0, 1, 'output', 'stdout', now(), now() + n * interval '1 second', 'x'
    from generate_series(%(first)s, %(last)s) n"""
SELECTIONS = {
    "stderr": Selection(stream="stderr"),
    "stderr alone": Selection(other=False, stream="stderr"),
    "no output": Selection(output=False),
    "another job": Selection(job=1),
    "another job's output": Selection(job=1, other=False),
    "another job's stderr": Selection(job=1, other=False, stream="stderr"),
}


def fill(dsn, task_id, rows):
    """Write a log by hand: rows of seq, job, type, stream; the rest of it is stdout of job 0."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(INSERT, {"task": task_id, "first": 2, "last": LONG})
        for seq, job, kind, stream in rows:
            connection.execute(
                "update ado.events set job = %s, type = %s, stream = %s where task_id = %s and seq = %s",
                (job, kind, stream, task_id, seq),
            )
        connection.execute("update ado.task_logs set last_seq = %s where task_id = %s", (LONG, task_id))
        connection.execute("analyze ado.events")


@pytest.fixture
async def long_log(db, dsn):
    """A task with a long log of stdout and a little else, and its id."""
    task_id = await create(db, workers=2)
    fill(dsn, task_id, [
        (10, 1, "output", "stderr"), (11, 1, "output", "stdout"), (12, 0, "progress", None), (13, 1, "progress", None),
        (14, 0, "output", "stderr"), (LONG, None, "succeeded", None),
    ])  # fmt: skip
    return task_id


async def pages(db, task_id, selection, rows=500):
    """Read a selection to its end; the seqs of all pages."""
    cursor, found = 0, []
    while True:
        page = await events.selected_page(db, task_id, cursor, selection.wanted, row_limit=rows, byte_limit=1 << 20)
        found += [event.seq for event in page.events]
        assert page.through > cursor
        cursor = page.through
        if cursor == page.last_seq:
            return found


@pytest.mark.parametrize("rows", [1, 500])
async def test_a_selection_reads_only_its_own_events(db, long_log, rows):
    expected = {
        "stderr": [1, 10, 12, 13, 14, LONG],
        "stderr alone": [1, 10, 14, LONG],
        "no output": [1, 12, 13, LONG],
        "another job": [1, 10, 11, 13, LONG],
        "another job's output": [1, 10, 11, LONG],
        "another job's stderr": [1, 10, LONG],
    }  # the task's own events are always among them
    assert {name: await pages(db, long_log, SELECTIONS[name], rows) for name in expected} == expected


async def test_a_tail_begins_before_the_last_events_of_the_selection(db, long_log):
    for name, count, after in (
        ("stderr alone", 1, 13),
        ("stderr alone", 2, 9),
        ("stderr alone", 9, 9),
        ("no output", 2, 12),
        ("another job", 1, 12),
        ("another job's output", 1, 10),
        ("another job's stderr", 0, LONG),
    ):
        assert await events.cursor_of_tail(db, long_log, count, SELECTIONS[name].wanted) == after, (name, count)


async def test_a_tail_of_a_selection_that_has_none_is_the_end_of_the_log(db, dsn):
    task_id = await create(db)
    fill(dsn, task_id, [])
    assert await events.cursor_of_tail(db, task_id, 3, SELECTIONS["stderr alone"].wanted) == LONG


async def test_a_time_between_two_events_selects_the_later_one(db, dsn):
    task_id = await create(db)
    fill(dsn, task_id, [])
    page = await events.page(db, task_id, 1, row_limit=1, byte_limit=1)
    first = page.events[0].stored_at
    for seq in (2, 3, 4097, LONG - 1, LONG):
        at = first + timedelta(seconds=seq - 2)
        assert await events.cursor_of_time(db, task_id, at + timedelta(microseconds=1)) in (seq, LONG)
        assert await events.cursor_of_time(db, task_id, at) == seq - 1
    assert await events.cursor_of_time(db, task_id, datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert await events.cursor_of_time(db, task_id + 1, first) == 0


def reads(plan):
    """Return how many rows the nodes of a plan read and threw away."""
    removed = plan.get("Rows Removed by Filter", 0) * plan["Actual Loops"]
    return removed + sum(reads(child) for child in plan.get("Plans", ()))


@pytest.mark.parametrize("statement", ["page_selection", "seq_before_tail", "seq_before_time"])
def test_no_statement_of_a_reader_scans_a_long_log(long_log, dsn, statement):
    query = queries.load()[statement]
    for name, selection in SELECTIONS.items():
        wanted = selection.wanted
        values = {
            "task_id": long_log, "job": wanted.job, "streams": list(wanted.streams), "others": wanted.others,
            "after": 0, "row_limit": 500, "byte_limit": 1 << 20, "count": 3,
            "since": datetime.now(UTC) + timedelta(hours=20),
        }  # fmt: skip
        with psycopg.connect(dsn) as connection:
            literals = [psycopg.sql.Literal(values[parameter]).as_string(connection) for parameter in query.parameters]
            connection.execute(f"prepare reader as {query.numbered}")
            for mode in ("force_custom_plan", "force_generic_plan"):
                connection.execute(f"set plan_cache_mode = {mode}")
                [[[found]]] = connection.execute(
                    f"explain (analyze, buffers, format json) execute reader({', '.join(literals)})"
                ).fetchall()
                plan = found["Plan"]
                assert reads(plan) < 100, (name, mode)
                assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 150, (name, mode)


async def test_a_page_has_what_follows_its_cursor_and_says_when_the_event_there_was_stored(db, dsn, long_log):
    def seqs(page):
        return [event.seq for event in page.events]

    first = await events.page(db, long_log, 0, row_limit=3, byte_limit=1 << 20)
    assert (seqs(first), first.last_seq, first.cursor_at) == ([1, 2, 3], LONG, None)
    later = await events.page(db, long_log, 3, row_limit=3, byte_limit=1 << 20)
    assert (seqs(later), later.cursor_at) == ([4, 5, 6], first.events[2].stored_at)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update ado.events set data = repeat('x', 1000)::bytea where task_id = %s and seq in (3, 4)",
                           (long_log,))  # fmt: skip
    for limit, found in ((1, [4]), (1000, [4]), (1001, [4, 5]), (1003, [4, 5, 6, 7])):
        assert seqs(await events.page(db, long_log, 3, row_limit=4, byte_limit=limit)) == found, limit
    end = await events.page(db, long_log, LONG, row_limit=3, byte_limit=1)
    assert (end.events, end.last_seq, end.cursor_at is None) == ([], LONG, False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("delete from ado.events where task_id = %s", (long_log,))
    dropped = await events.page(db, long_log, LONG, row_limit=3, byte_limit=1)
    assert (dropped.events, dropped.last_seq, dropped.cursor_at) == ([], LONG, None)
    assert await events.page(db, long_log + 1, 0, row_limit=3, byte_limit=1) == events.EventPage([], 0, None)


@pytest.mark.parametrize("name", ["page_events", "page_selection", "search_window", "list_limit_waits"])
async def test_a_statement_about_one_log_is_planned_for_one_partition(db, name):
    task_id = await create(db)
    await events.extend(db, 2_000)
    query = queries.load()[name]
    values = {**dict.fromkeys(query.parameters), "task_id": task_id}
    plan = await db._pool.fetch(f"explain {query.numbered}", *query.arguments(values))
    scanned = set(re.findall(r" on (events_\d+)", "\n".join(row[0] for row in plan)))
    assert len(scanned) <= 1
