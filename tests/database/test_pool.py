"""The pool of connections, when the server stops answering."""

import asyncio
from dataclasses import replace

import pytest
from support.link import UP, Link
from support.postgres import described, dsn_of

from db.pool import Pool


@pytest.fixture
def link(dsn, home):
    """A link to Postgres, and the DSN that leads over it."""
    pg = described(dsn)
    listen = home / f".s.PGSQL.{pg.port}"
    target = f"{pg.host}/{listen.name}" if pg.host.startswith("/") else (pg.host, pg.port)
    with Link(target, listen=listen) as made:
        yield made, dsn_of(replace(pg, host=str(home)), pg.maintenance_dbname)


async def test_a_cancelled_statement_waits_briefly_for_a_server_that_confirms_nothing(link):
    made, dsn = link
    pool = await Pool.open(dsn, least=1, most=1, command_timeout=60)
    await pool.fetch("select 1")
    made.stop(UP)
    statement = asyncio.create_task(pool.fetch("select pg_sleep(0.1)"))
    await asyncio.sleep(0)
    statement.cancel()
    done, _ = await asyncio.wait([statement], timeout=20)
    assert done  # without a bound it is after the minute that a statement may take
    assert statement.cancelled()
    made.go()
    assert [tuple(row) for row in await pool.fetch("select 2")] == [(2,)]
    await pool.close(5)
