"""What a pooler needs: no statement stays prepared on a connection that the next transaction may not get."""

import pytest
from support.records import create

from db.connect import run
from db.database import Database
from db.sync_database import SyncPool


@pytest.mark.parametrize("pooled", [True, False])
async def test_a_replica_keeps_prepared_statements_unless_it_is_behind_a_pooler(dsn, pooled):
    db = await Database.open(dsn, size=1, pooled=pooled)
    try:
        for _ in range(3):
            await create(db)
        kept = await db._pool.fetch("select from pg_prepared_statements where statement like '%ado.tasks%'")
        assert bool(kept) is not pooled
    finally:
        await db.close()


def test_a_spawner_keeps_no_prepared_statement(dsn):
    pool = SyncPool(dsn, size=1)
    pool.open()
    try:
        for _ in range(10):
            with pool.transaction() as connection:
                run(connection, "spawner_workers")
        with pool.transaction() as connection:
            assert connection.execute("select from pg_prepared_statements").fetchall() == []
    finally:
        pool.close()
