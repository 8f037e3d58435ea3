"""The baseline makes what migrations 1 to 11 made, and databases that have those applied go on."""

from pathlib import Path

import psycopg
import pytest

from db.errors import MigrationFailed
from db.migrate import _BOOTSTRAP, check, known, migrate, migrations

OLD_FILES = Path(__file__).with_name("migrations_1_to_11.sql").read_text()
OLD_NAMES = [line.removeprefix("-- file: ") for line in OLD_FILES.splitlines() if line.startswith("-- file: ")]
CATALOG = """
select 'relation', c.oid::regclass::text, concat_ws(' ', c.relkind, c.reloptions, c.relispartition),
       (select array_agg(a::text order by a::text) from unnest(c.relacl) a), obj_description(c.oid, 'pg_class')
from pg_class c where c.relnamespace = 'ado'::regnamespace and c.relkind <> 'i'
union all
select 'column', c.oid::regclass || '.' || a.attname,
       concat_ws(' ', row_number() over (partition by c.oid order by a.attnum), format_type(a.atttypid, a.atttypmod),
                 a.attnotnull, a.attstorage, a.attidentity, pg_get_expr(d.adbin, d.adrelid)),
       (select array_agg(x::text order by x::text) from unnest(a.attacl) x), col_description(c.oid, a.attnum)
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relnamespace = 'ado'::regnamespace and c.relkind <> 'i'
union all
select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid), null, null
from pg_constraint where connamespace = 'ado'::regnamespace
union all
select 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid), null, null
from pg_index where indrelid in (select oid from pg_class where relnamespace = 'ado'::regnamespace)
union all
select 'view', c.oid::regclass::text, pg_get_viewdef(c.oid), null, null
from pg_class c where c.relnamespace = 'ado'::regnamespace and c.relkind = 'v'
union all
select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid),
       (select array_agg(a::text order by a::text) from unnest(p.proacl) a), obj_description(p.oid, 'pg_proc')
from pg_proc p where p.pronamespace = 'ado'::regnamespace
union all
select 'schema', nspname, null, (select array_agg(a::text order by a::text) from unnest(nspacl) a),
       obj_description(oid, 'pg_namespace')
from pg_namespace where nspname = 'ado'
union all
select 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid), null, null
from pg_trigger where not tgisinternal
order by 1, 2
"""


def catalog(dsn):
    """Return everything the schema defines, one row for each object."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(CATALOG).fetchall()


def make_old(dsn, newest):
    """Make a database as the old files did, with their names and checksums on record."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_BOOTSTRAP)
        if newest == 11:
            connection.execute(OLD_FILES)
        for name in OLD_NAMES[:newest]:
            connection.execute(
                "insert into ado.migrations (number, name, checksum) values (%s, %s, 'of the old file')",
                [int(name[:4]), name[5:]],
            )


def test_a_database_of_the_old_migrations_upgrades_to_the_same_schema(dsn, empty_dsn):
    make_old(empty_dsn, 11)
    assert migrate(empty_dsn) == list(range(12, known() + 1))
    check(empty_dsn)
    old, new = catalog(empty_dsn), catalog(dsn)
    assert len(new) > 500
    assert [row for row in old if row not in new] == []
    assert [row for row in new if row not in old] == []


def test_the_baseline_alone_makes_the_schema_of_the_old_files(dsn, empty_dsn):
    make_old(empty_dsn, 11)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("drop schema ado cascade")
        connection.execute(_BOOTSTRAP)
        connection.execute(migrations()[0].text)
    old, new = catalog(empty_dsn), catalog(dsn)
    assert [row for row in old if row not in new] == []
    assert [row for row in new if row not in old] == []


def test_a_database_that_stopped_before_the_baseline_is_refused(empty_dsn):
    make_old(empty_dsn, 7)
    with pytest.raises(MigrationFailed, match="at migration 7; this release migrates databases from 11") as caught:
        migrate(empty_dsn)
    assert caught.value.next_step == "migrate it with release 0.1.0 first, then with this one"


def test_a_missing_migration_file_is_refused(monkeypatch, tmp_path):
    for name in ("0011_baseline.sql", "0013_other.sql"):
        (tmp_path / "migrations").mkdir(exist_ok=True)
        (tmp_path / "migrations" / name).write_text("select 1")
    monkeypatch.setattr("db.migrate.files", lambda _: tmp_path)
    with pytest.raises(MigrationFailed, match="a migration file is missing"):
        migrations()
