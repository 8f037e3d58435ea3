"""Postgres ends a statement that takes too long, whatever its replica does."""

import logging
import signal
import subprocess
import sys

import psycopg
import pytest
from support.pgbouncer import pgbouncer
from support.program import until

from db.database import Database

REPLICA = """
import asyncio, sys
from db.database import Database

async def main():
    db = await Database.open(sys.argv[1], size=1, timeout=5)
    async with db._pool._pool.acquire() as connection:
        await connection.fetch("select pg_sleep(3600)", timeout=3600)

asyncio.run(main())
"""


def asleep(connection):
    """Return how many sessions are in the statement itself; one whose statement is only parsed is active, too."""
    ours = "datname = current_database() and wait_event = 'PgSleep'"
    return connection.execute(f"select count(*) from pg_stat_activity where {ours}").fetchone()[0]


def test_a_statement_ends_although_its_replica_is_stopped(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        replica = subprocess.Popen([sys.executable, "-c", REPLICA, dsn], stderr=subprocess.DEVNULL)
        try:
            until(lambda: asleep(connection), "the statement to run", 60)
            replica.send_signal(signal.SIGSTOP)
            until(lambda: not asleep(connection), "Postgres to end it", 60)
            assert replica.poll() is None
        finally:
            replica.kill()
            replica.wait()


@pytest.fixture
def role_setting(dsn):
    """Set the timeout of the tests' role in this database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        name, user = connection.execute("select current_database(), current_user").fetchone()

        def change(value):
            connection.execute(f'alter role "{user}" in database "{name}" set statement_timeout = {value}')

        yield change


@pytest.mark.parametrize(("setting", "warned"), [("'7s'", False), ("0", True)])
async def test_behind_a_pooler_the_role_has_the_timeout_and_its_lack_is_logged(
    dsn, role_setting, caplog, setting, warned
):
    role_setting(setting)
    with caplog.at_level(logging.WARNING), pgbouncer(dsn) as through:
        db = await Database.open(through, size=1)
        try:
            [row] = await db._pool.fetch("select current_setting('statement_timeout')")
        finally:
            await db.close()
    assert row[0] == setting.strip("'")
    assert ("alter role NAME set statement_timeout" in caplog.text) is warned
