"""Which workers are listed, counted and forgotten, of those that have stopped or fallen silent."""

import psycopg
from support.records import register

from db import workers


async def stopped(db, dsn, ages):
    """Register workers; set how many seconds ago each stopped (None: it has not) and sent its last heartbeat."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for name, (ended, silent) in ages.items():
            await register(db, name)
            connection.execute(
                "update ado.workers set stopped_at = now() - make_interval(secs => %s),"
                " last_heartbeat_at = now() - make_interval(secs => %s) where worker_id = %s",
                [ended, silent, name],
            )


def names(rows):
    return [row.worker_id for row in rows]


async def test_stopped_workers_are_listed_for_as_long_as_asked(db, dsn):
    await stopped(db, dsn, {"w1": (None, 0), "w2": (30, 30), "w3": (90, 90)})
    assert names(await workers.listing(db)) == ["w1", "w2", "w3"]
    assert names(await workers.listing(db, stopped_within=60)) == ["w1", "w2"]
    assert names((await workers.page(db, stopped_within=0))[0]) == ["w1"]
    assert names((await workers.page(db, "stopped"))[0]) == ["w2", "w3"]
    assert names((await workers.page(db, "idle"))[0]) == ["w1"]
    assert await workers.counts(db) == {"idle": 1, "stopped": 2}


async def test_workers_are_forgotten_after_their_end_or_their_last_heartbeat(db, dsn):
    await stopped(db, dsn, {"w1": (None, 90), "w2": (None, 30), "w3": (90, 90), "w4": (30, 90)})
    assert await workers.prune(db, 60) == 2
    assert names(await workers.listing(db)) == ["w2", "w4"]
