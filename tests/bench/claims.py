"""The claim statement in SQL, with a short and a long queue, and behind jobs that match no worker."""

import asyncio
import time
from collections.abc import Iterator

import asyncpg

from db import jobs
from db.database import Database
from tests.bench.figures import Figure
from tests.bench.stage import Stage, main
from tests.support.records import LEASE, SUSPECT, create, register

BATCH = 50
CONNECTIONS = 4
SLOTS = 100  # a claim also counts what its worker runs, and a worker runs no thousands
_PLANNED = 8  # after so many runs a connection has its plan
_BARE_TABLE = """
create table queue (id bigint primary key, priority integer not null default 0, state integer not null default 0,
    worker text, lease timestamptz, attempt integer not null default 0) with (fillfactor = 70);
create index on queue (priority desc, id) where state = 0
"""
_BARE_CLAIM = """
update queue set state = 1, worker = $1, lease = now() + interval '30 s', attempt = attempt + 1 where id in (
    select id from queue where state = 0 order by priority desc, id limit $2 for update skip locked)
returning id, attempt
"""


async def measure(stage: Stage) -> list[Figure]:
    """Claim from queues of each depth; the floor is SKIP LOCKED on a bare queue of the same depth."""
    figures = []
    for depth, behind in stage.pick([(1000, 0), (100_000, 0), (1000, 100_000)], [(100, 100)]):
        with stage.database() as dsn:
            least = await _bare(dsn, max(depth, 2000) if not stage.small else depth)
            rate = await _product(dsn, depth, behind)
        what = f"claims in SQL, depth {depth:,}" + (f" behind {behind:,} that match nobody" if behind else "")
        figures.append(Figure(what, rate, "jobs/s", least, "≥ 10k/s, ≥ 0.4 x floor", rate >= max(10_000, 0.4 * least)))
    return figures


async def _product(dsn: str, depth: int, behind: int) -> float:
    db = await Database.open(dsn, size=CONNECTIONS)
    for _ in range(-(-behind // 1000)):
        await create(db, workers=min(behind, 1000), requires=("nothing",), priority=9)
    for _ in range(-(-depth // 1000)):
        await create(db, workers=min(depth, 1000))
    await db.many("extend_log", ahead=1000)
    claimed = [0]
    most = min(depth, 20_000)
    for number in range(CONNECTIONS):
        await register(db, f"first-{number}", slots=_PLANNED)
    for number in range(-(-most // SLOTS) + CONNECTIONS):  # more than are needed: a worker's last claim may find little
        await register(db, f"w{number}", slots=SLOTS)
    connection = await asyncpg.connect(dsn)
    await connection.execute("vacuum analyze")
    await connection.close()

    async def claim(name: str, times: int, limit: int) -> None:
        for number in range(times):
            if claimed[0] >= most:
                return
            got = await jobs.claim(
                db, worker_id=name, session=f"session-{name}-i1", claims=number, limit=limit,
                suspect_seconds=SUSPECT * 100, lease_seconds=LEASE,
            )  # fmt: skip
            claimed[0] += len(got)

    async def claim_in_turn(names: Iterator[str]) -> None:
        for name in names:
            await claim(name, SLOTS // BATCH, BATCH)

    await asyncio.gather(*(claim(f"first-{number}", _PLANNED, 1) for number in range(CONNECTIONS)))
    claimed[0] = 0
    most -= CONNECTIONS * _PLANNED
    names = (f"w{number}" for number in range(-(-most // SLOTS) + CONNECTIONS))
    began = time.perf_counter()
    await asyncio.gather(*(claim_in_turn(names) for _ in range(CONNECTIONS)))
    seconds = time.perf_counter() - began
    await db.close()
    return claimed[0] / seconds


async def _bare(dsn: str, depth: int) -> float:
    pool = await asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS)
    await pool.execute(_BARE_TABLE)
    await pool.execute("insert into queue select n from generate_series(1, $1::bigint) n", depth)
    await pool.execute("vacuum analyze queue")
    claimed = [0]

    async def claim(name: str) -> None:
        while claimed[0] < min(depth, 20_000):
            rows = await pool.fetch(_BARE_CLAIM, name, BATCH)
            claimed[0] += len(rows)

    await asyncio.gather(*(pool.fetch(_BARE_CLAIM, "w", 0) for _ in range(CONNECTIONS * _PLANNED)))
    began = time.perf_counter()
    await asyncio.gather(*(claim(f"w{number}") for number in range(CONNECTIONS)))
    seconds = time.perf_counter() - began
    await pool.execute("drop table queue")
    pool.terminate()
    return claimed[0] / seconds


if __name__ == "__main__":
    main(measure)
