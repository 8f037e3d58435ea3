"""Errors of the database and the driver are classified: try again, or not."""

from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from support.records import create

from db import events, tasks, token_admin, tokens
from db.connect import run
from db.database import Database
from db.errors import DatabaseRefused, DatabaseUnavailable
from db.sync_database import SyncPool


def read_only(dsn):
    return psycopg.conninfo.make_conninfo(dsn, options="-c default_transaction_read_only=on")


async def test_a_standby_is_unavailable_to_replicas(db, dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'alter database "{name}" set default_transaction_read_only = on'.encode())
    standby = await Database.open(dsn, size=1)
    with pytest.raises(DatabaseUnavailable):
        await create(standby)
    assert await tasks.get(standby, 1) is None  # it reads
    await standby.close()


def test_a_standby_is_unavailable_to_spawners(dsn):
    pool = SyncPool(read_only(dsn))
    pool.open()
    with pytest.raises(DatabaseUnavailable), pool.transaction() as connection:
        run(connection, "worker_gone", worker_id="w1")
    pool.close()


def test_a_standby_is_named_to_an_administrator(dsn):
    with pytest.raises(DatabaseUnavailable, match="read-only") as caught:
        token_admin.create_token(read_only(dsn), tokens.new("admin"))
    assert "primary" in caught.value.next_step


async def test_a_value_that_the_driver_cannot_send_is_refused_and_not_sent_again(db):
    before_the_first_year = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
    with pytest.raises(DatabaseRefused):
        await events.cursor_of_time(db, 1, before_the_first_year)
    assert await events.cursor_of_time(db, 1, datetime.min.replace(tzinfo=UTC)) == 0
