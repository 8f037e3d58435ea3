"""No login becomes the schema's owner through a function that runs as its owner."""

import contextlib

import psycopg
import pytest
from psycopg import sql

ROLES = ("ado_api", "ado_readonly")
TRAP = """
create function pg_temp.trap() returns integer language plpgsql volatile as $$
begin
    insert into ado.tokens (token_id, digest, role) values ('tok-trap', sha256('trap'), 'admin');
    return 1;
end $$
"""
RELATIONS = {
    "pg_stat_activity": "select now() - make_interval(secs => pg_temp.trap()) as xact_start, 0 as pid,"
    " '1'::xid as backend_xmin, current_database() as datname",
    "pg_class": "select pg_temp.trap()::text as relname, 0::oid as oid",
    "pg_roles": "select pg_temp.trap()::text as rolname",
}


def definers(connection):
    """Return the functions that run as their owner: signature, search path, number of arguments."""
    return connection.execute(
        "select p.oid::regprocedure::text, coalesce(array_to_string(p.proconfig, ' '), ''), p.pronargs from pg_proc p"
        " where p.pronamespace = 'ado'::regnamespace and p.prosecdef order by 1"
    ).fetchall()


def test_every_definer_function_searches_temporary_objects_last(dsn):
    with psycopg.connect(dsn) as connection:
        found = definers(connection)
    assert found
    for signature, config, _ in found:
        assert "search_path=pg_catalog, pg_temp" in config, signature


@pytest.mark.parametrize("role", ROLES)
def test_a_role_cannot_run_its_own_code_as_the_owner(dsn, role):
    """Temporary views and functions that shadow the catalogue are planted; then each function and view is used."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        functions = [(signature, count) for signature, _, count in definers(connection)]
        views = [name for (name,) in connection.execute("select viewname from pg_views where schemaname = 'ado'")]
        # the ordinary roles are given what makes the attack possible on a server that allows it
        database = connection.execute("select current_database()").fetchone()[0]
        connection.execute(
            sql.SQL("grant temporary on database {} to {}").format(sql.Identifier(database), sql.Identifier(role))
        )
        connection.execute(sql.SQL("set session authorization {}").format(sql.Identifier(role)))
        connection.execute(TRAP)
        for name, query in RELATIONS.items():
            connection.execute(f"create temp view {name} as {query}")
        for signature, count in functions:
            name = signature.partition("(")[0]
            attempt(connection, f"select {name}({', '.join(['null'] * count)})")
        for name in views:
            attempt(connection, f"select * from ado.{name}")
        connection.execute("reset session authorization")
        assert connection.execute("select token_id from ado.tokens where token_id = 'tok-trap'").fetchall() == []


def attempt(connection, statement):
    """Run a statement that may be refused; what counts is what it leaves behind."""
    with contextlib.suppress(psycopg.Error):
        connection.execute(statement)
