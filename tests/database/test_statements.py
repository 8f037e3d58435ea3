"""Every statement, view and recipe on a real Postgres: the wheel's, and the system's where there is one."""

import asyncio
import re
from importlib.resources import files

import psycopg
import pytest

from db import queries
from db.errors import MigrationFailed, SchemaMismatch
from db.migrate import check, known, migrate, migrations, version


@pytest.mark.parametrize("name", sorted(queries.load()))
def test_a_statement_is_planned(dsn, name):
    query = queries.load()[name]
    with psycopg.connect(dsn) as connection:
        connection.execute(("explain " + query.named).encode(), dict.fromkeys(query.parameters))


def recipes():
    return re.findall(r"```sql\n(.*?)```", files("sql").joinpath("README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("recipe", recipes())
def test_a_recipe_runs_as_a_reader(dsn, recipe):
    with psycopg.connect(dsn) as connection:
        connection.execute("set role ado_readonly")
        connection.execute(recipe.encode())


def test_the_readers_role_may_not_read_tables(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute("set role ado_readonly")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from ado.tasks")


def test_the_replicas_role_may_not_rewrite_the_log(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute("set role ado_api")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from ado.events")


def test_every_table_column_and_view_has_a_comment(dsn):
    with psycopg.connect(dsn) as connection:
        bare = connection.execute(
            """
            select c.relname, a.attname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and c.relkind <> 'v'
            where n.nspname = 'ado' and c.relkind in ('r', 'v', 'p') and not c.relispartition
              and col_description(c.oid, coalesce(a.attnum, 0)) is null
              and (a.attnum is not null or obj_description(c.oid) is null)
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
        connection.execute("update ado.migrations set checksum = 'other' where number = 1")
    with pytest.raises(MigrationFailed, match="is not the one that was applied"):
        migrate(dsn)


def test_a_newer_database_is_refused(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute("insert into ado.migrations values (99, 'future', 'x')")
    with pytest.raises(SchemaMismatch) as caught:
        check(dsn)
    assert (caught.value.found, caught.value.known) == (99, known())
    assert "newer release" in caught.value.next_step


def test_the_systems_postgres_takes_the_schema_and_every_statement(system_server):
    migrate(system_server)
    with psycopg.connect(system_server) as connection:
        for query in queries.load().values():
            connection.execute(("explain " + query.named).encode(), dict.fromkeys(query.parameters))


def test_the_claim_uses_its_index(dsn):
    query = queries.load()["claim_jobs"]
    with psycopg.connect(dsn) as connection:
        connection.execute("set local enable_seqscan = off")
        plan = connection.execute(("explain " + query.named).encode(), dict.fromkeys(query.parameters)).fetchall()
    assert any("jobs_claim_idx" in row[0] for row in plan)
