"""Nobody alters what the audit says, and only what is old is removed."""

import contextlib

import psycopg
import pytest

from app.loops import janitor
from app.settings import AppSettings

ATTACKS = [
    "update ado.audit set token_id = null",
    "update ado.audit set token_id = null where false",
    "delete from ado.audit",
    "delete from only ado.audit where procedure = 'tasks.create'",
    "truncate ado.audit",
    "truncate ado.audit restart identity cascade",
    "with gone as (delete from ado.audit returning *) select count(*) from gone",
    "merge into ado.audit a using (select 1) s on true when matched then delete",
    "insert into ado.audit (at, procedure) values (now() - interval '500 days', 'tasks.create')",
    "insert into ado.audit (audit_id, procedure) overriding system value values (1, 'tasks.create')",
    "copy ado.audit (at, procedure) from stdin",
    "alter table ado.audit disable trigger all",
    "alter table ado.audit rename to other",
    "drop table ado.audit",
    "create or replace function ado.keep_audit() returns trigger language plpgsql as 'begin return new; end'",
    "create trigger mine before insert on ado.audit for each row execute function ado.keep_audit()",
    "create rule mine as on insert to ado.audit do instead nothing",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("role", ["ado_api", "ado_readonly"])
def test_no_login_alters_the_audit(dsn, role, attack):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into ado.audit (procedure, target) values ('tasks.create', 'task-1')")
        connection.execute(f"set session authorization {role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(attack)
        connection.execute("reset session authorization")
        assert connection.execute("select target from ado.audit").fetchall() == [("task-1",)]


@pytest.mark.parametrize("attack", ATTACKS[:8])
@pytest.mark.parametrize("setting", ["", "set session_replication_role = replica"])
def test_the_owner_cannot_alter_the_audit(dsn, attack, setting):
    """The embedded control plane's replicas are the owner."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into ado.audit (procedure, target) values ('tasks.create', 'task-1')")
        connection.execute(setting.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(attack)
        assert connection.execute("select target from ado.audit").fetchall() == [("task-1",)]


@pytest.mark.parametrize("days", ["0", "-1", "1e-300", "null", "'NaN'", "'-Infinity'", "'Infinity'", "1e300"])
@pytest.mark.parametrize("role", ["ado_api", "ado_readonly"])
def test_a_role_that_may_prune_cannot_remove_recent_rows(dsn, role, days):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into ado.audit (at, procedure) values (now() - interval '23 hours', 'tasks.create')")
        connection.execute(f"set session authorization {role}")
        with contextlib.suppress(psycopg.Error):
            connection.execute(f"select ado.prune_audit({days})")
        connection.execute("reset session authorization")
        assert connection.execute("select count(*) from ado.audit").fetchone() == (1,)


async def test_the_janitor_removes_what_is_older_than_the_setting(db, dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into ado.audit (at, target) select now() - make_interval(days => d), d from unnest(%s) d",
            [[1, 399, 401, 3000]],
        )
        await janitor.step(db, AppSettings(dsn=dsn))
        left = connection.execute("select target from ado.audit order by at").fetchall()
        assert left == [("399",), ("1",)]
        await janitor.step(db, AppSettings(dsn=dsn, audit_days=2))
        assert connection.execute("select target from ado.audit").fetchall() == [("1",)]


@pytest.mark.parametrize(
    "statement",
    [
        "select ado.prune_audit(400)",
        "select * from ado.audit where target = 'task-5' order by at desc, audit_id desc limit 101",
        "select * from ado.audit where at >= now() - interval '1 hour' order by at desc, audit_id desc limit 101",
    ],
)
def test_pruning_and_reading_a_large_audit_go_by_an_index(dsn, statement):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into ado.audit (at, target) select now() - make_interval(mins => n), 'task-' || n"
            " from generate_series(1, 20000) n"
        )
        connection.execute("analyze ado.audit")
        before = read(connection)
        connection.execute(statement.encode())
        assert read(connection) == before


def read(connection):
    """Return how many sequential scans of the audit there were."""
    connection.execute("select pg_stat_force_next_flush()")
    return connection.execute("select seq_scan from pg_stat_user_tables where relname = 'audit'").fetchone()
