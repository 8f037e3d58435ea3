"""Every statement, view and recipe on a real Postgres: the wheel's, and the system's where there is one."""

import asyncio
import re
from importlib.resources import files

import psycopg
import pytest

from db import queries
from db.errors import MigrationFailed, SchemaMismatch
from db.migrate import Migration, Schema, check, known, migrate, migrations, schema, version


@pytest.mark.parametrize("name", sorted(queries.load()))
def test_a_statement_is_planned(dsn, name):
    query = queries.load()[name]
    with psycopg.connect(dsn) as connection:
        connection.execute(("explain " + query.named).encode(), dict.fromkeys(query.parameters))


ADMINISTRATORS = set(re.findall(r"-- name: (\w+)", files("sql").joinpath("queries", "retention.sql").read_text()))
"""Statements of ``ado db prune``, which no replica runs."""


def recipes():
    return re.findall(r"```sql\n(.*?)```", files("sql").joinpath("README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_of_the_cookbook_runs_as_a_reader(dsn, recipe):
    with psycopg.connect(dsn) as connection:
        connection.execute("set role ado_readonly")
        connection.execute(recipe.encode())


def test_the_readers_role_may_not_read_tables(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute("set role ado_readonly")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from ado.tasks")


@pytest.mark.parametrize("name", sorted(set(queries.load()) - ADMINISTRATORS))
def test_the_replicas_role_may_run_every_statement_of_theirs(dsn, name):
    query = queries.load()[name]
    with psycopg.connect(dsn) as connection:
        connection.execute("set role ado_api")
        connection.execute(("explain " + query.named).encode(), dict.fromkeys(query.parameters))


@pytest.mark.parametrize(
    "statement",
    [
        "delete from ado.events",
        "update ado.events set data = ''",
        "truncate ado.events",
        "delete from ado.tasks",
        "delete from ado.jobs",
        "delete from ado.task_logs",
        "update ado.task_environments set names = '{}'",
        "delete from ado.task_environments",
        "insert into ado.control default values",
        "delete from ado.control",
        "insert into ado.migrations values (99, 'x', 'x')",
        "update ado.log_ranges set pruned_at = now()",
        "alter table ado.tasks add column x integer",
        "drop table ado.tokens",
        "create table ado.mine (x integer)",
        "alter view ado.task_status rename to x",
        "create function ado.f() returns integer language sql as 'select 1'",
        "set role ado",
    ],
)
def test_the_role_of_the_replicas_has_no_other_rights(dsn, statement):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set session authorization ado_api")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_the_cookbook_has_a_recipe_for_every_view(dsn):
    text = "".join(recipes())
    assert [view for view in of_schema(dsn, "v") if f"ado.{view}" not in text] == []


def of_schema(dsn, kinds):
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            """
            select c.relname from pg_class c where c.relnamespace = 'ado'::regnamespace
            and c.relkind = any(%s) and not c.relispartition
            """,
            [list(kinds)],
        )
        return sorted(row[0] for row in rows)


def test_the_readers_role_reads_every_view_no_table_and_writes_nothing(dsn):
    views, tables = of_schema(dsn, "v"), of_schema(dsn, "rp")
    assert {"task_status", "job_status", "worker_status", "queue_depth", "stream_latency", "why_pending"} <= set(views)
    assert len(tables) > 10
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set session authorization ado_readonly")
        for view in views:
            connection.execute(f"select * from ado.{view}".encode())
            for write in ("insert into ado.{} default values", "delete from ado.{}"):
                with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
                    connection.execute(write.format(view).encode())
        for table in tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select * from ado.{table}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select ado.extend_log(1)")


def test_every_table_view_column_and_function_has_a_comment(dsn):
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select ado.extend_log(5000)").fetchone()[0] > 0  # those made later as well
        bare = connection.execute(
            """
            select c.relname, a.attname from pg_class c
            left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            where c.relnamespace = 'ado'::regnamespace and c.relkind in ('r', 'v', 'p')
              and (col_description(c.oid, a.attnum) is null or obj_description(c.oid, 'pg_class') is null)
            union all
            select p.proname, null from pg_proc p
            where p.pronamespace = 'ado'::regnamespace and obj_description(p.oid, 'pg_proc') is null
            """
        ).fetchall()
    assert bare == []


def test_migrating_twice_applies_nothing_twice(empty_dsn):
    assert version(empty_dsn) == 0
    assert migrate(empty_dsn) == [migration.number for migration in migrations()]
    assert migrate(empty_dsn) == []
    check(empty_dsn)


async def test_migrations_at_the_same_time_apply_once(empty_dsn):
    applied = await asyncio.gather(*(asyncio.to_thread(migrate, empty_dsn) for _ in range(4)))
    assert sorted(number for numbers in applied for number in numbers) == [m.number for m in migrations()]


def test_an_edited_migration_is_refused(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute("update ado.migrations set checksum = 'other' where number = 12")
    with pytest.raises(MigrationFailed, match="is not the one that was applied"):
        migrate(dsn)


def test_a_newer_database_is_refused(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute("insert into ado.migrations values (99, 'future', 'x')")
    with pytest.raises(SchemaMismatch) as caught:
        check(dsn)
    assert (caught.value.current, caught.value.known) == (99, known())
    assert "newer release" in caught.value.next_step


def test_a_newer_database_that_serves_this_release_is_accepted(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute("insert into ado.migrations values (99, 'future', 'x', now(), %s)", [known()])
    check(dsn)
    assert version(dsn) == 99


def test_a_database_without_the_column_is_readable(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute("alter table ado.migrations drop column oldest")
    assert schema(dsn) == Schema(known(), known())
    migrate(dsn)
    assert schema(dsn) == Schema(known(), known())


def test_a_migration_serves_older_releases_only_if_it_declares_it():
    assert Migration(7, "x", "-- Adds a column.\n-- oldest: 5\nalter table").oldest == 5
    assert Migration(7, "x", "alter table x; -- oldest: 5").oldest == 7


def test_a_migration_that_waits_for_a_table_gives_up_and_keeps_nothing(dsn, monkeypatch):
    monkeypatch.setattr("db.migrate._LOCK_WAIT", "100ms")
    blocked = [*migrations(), Migration(known() + 1, "blocked", "alter table ado.tasks add column more text")]
    monkeypatch.setattr("db.migrate.migrations", lambda: blocked)
    with psycopg.connect(dsn) as reader:
        reader.execute("select 1 from ado.tasks")
        with pytest.raises(MigrationFailed, match="lock timeout"):
            migrate(dsn)
    assert migrate(dsn) == [blocked[-1].number]


def test_the_system_version_of_postgres_accepts_the_schema_and_every_statement(system_server):
    migrate(system_server)
    with psycopg.connect(system_server) as connection:
        for query in queries.load().values():
            connection.execute(("explain " + query.named).encode(), dict.fromkeys(query.parameters))


@pytest.mark.parametrize("index", ["jobs_claim_idx", "jobs_holding_idx"])
def test_the_claim_uses_its_indexes(dsn, index):
    query = queries.load()["claim_jobs"]
    with psycopg.connect(dsn) as connection:
        connection.execute("set local enable_seqscan = off")
        plan = connection.execute(("explain " + query.named).encode(), dict.fromkeys(query.parameters)).fetchall()
    assert any(index in row[0] for row in plan)
