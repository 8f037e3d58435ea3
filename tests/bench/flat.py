"""What a history costs: every call, loop and view with a million ended tasks against a small database.

Two databases of one server are filled alike (``history``), one large and one small, each with a replica. Every measure
runs on both in turns, and its figure is the median of the large one, with that of the small one as its floor.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.request import Request, urlopen

import asyncpg
import orjson
import uvloop

from app.settings import AppSettings
from db import retention
from db.database import Database
from tests.bench import flat_calls, large_task
from tests.bench.figures import Figure, median, report, table
from tests.bench.flat_calls import Measure, Side
from tests.bench.history import Size, fill
from tests.bench.stage import Stage
from tests.bench.wire import LightClient

TARGET = 1.5
_LEAST_SECONDS = 0.0005  # less is noise of the machine, whatever the ratio
_ROUNDS, _WARM_ROUNDS = 15, 6  # a connection plans a statement anew five times
_SLOW_SECONDS, _SLOW_ROUNDS = 0.3, 4
_SMALL = Size(1000, 100, 10, 100)


async def measure(stage: Stage, size: Size) -> list[Figure]:
    """Fill both databases and measure everything."""
    figures = []
    with stage.empty_database() as large_dsn, stage.empty_database() as small_dsn:
        fill(small_dsn, _SMALL)
        began = time.monotonic()
        migrations = fill(large_dsn, size)
        sys.stderr.write(f"filled in {time.monotonic() - began:.0f} s\n")
        for name, seconds in migrations.items():
            figures.append(Figure(f"migration {name}", seconds * 1000, "ms"))
        async with side(stage, large_dsn, size) as large, side(stage, small_dsn, _SMALL) as small:
            measures = [*flat_calls.procedures(), flat_calls.people, flat_calls.worker, *flat_calls.loops()]
            warm, rounds = stage.pick((_WARM_ROUNDS, _ROUNDS), (0, 1))
            for one in [*measures, *flat_calls.cookbook()]:
                figures += await compared(one, large, small, warm=warm, rounds=rounds)
            for one in (_prune, _scrape):
                figures += await compared(one, large, small, warm=min(warm, 1), rounds=min(rounds, 3))
            figures += await large_task.measured(large)
    return figures


async def compared(one: Measure, large: Side, small: Side, *, warm: int, rounds: int) -> list[Figure]:
    """Measure on both sides in turns; return a figure for each step."""
    took: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for number in range(warm + rounds):
        for place, at in enumerate((large, small)):
            seconds = await one(at)
            if number >= warm:
                for name, value in seconds.items():
                    took[name][place].append(value)
        slowest = max((max(sides[0]) for sides in took.values()), default=0)
        if number >= warm + _SLOW_ROUNDS and slowest > _SLOW_SECONDS:
            break
    figures = [_figure(name, median(sides[0]), median(sides[1])) for name, sides in took.items()]
    for figure in figures:
        sys.stderr.write(f"{figure.what}: {figure.product:.3g} ms, {figure.floor:.3g} ms\n")
    return figures


def _figure(name: str, product: float, floor: float) -> Figure:
    met = product <= TARGET * floor or product - floor < _LEAST_SECONDS
    return Figure(name, product * 1000, "ms", floor * 1000, f"≤ {TARGET} x", met)


@contextlib.asynccontextmanager
async def side(stage: Stage, dsn: str, size: Size) -> AsyncIterator[Side]:
    """A replica over a database that is filled, and what else the measures speak to."""
    with stage.replicas(dsn, 1) as cluster:
        client = await LightClient.open(cluster.urls[0], cluster.token)
        db = await Database.open(dsn, size=4)
        plain = await asyncpg.connect(dsn)
        try:
            yield Side(dsn, cluster, size.ended, client, db, plain, AppSettings(dsn=dsn))
        finally:
            client.close()
            await plain.close()
            await db.close()


async def _prune(at: Side) -> dict[str, float]:
    """Prune the oldest range that is still there: a hundred tasks in either size."""
    age = await at.plain.fetchval(
        "select extract(epoch from now() - t.finished_at)::float8 + 1 from ado.tasks t where t.task_id = "
        "(select min(to_task_id) from ado.log_ranges where pruned_at is null)"
    )

    def run() -> int:
        return len(list(retention.prune(at.dsn, age)))

    began = time.perf_counter()
    assert await asyncio.to_thread(run) == 1
    return {"prune: one range": time.perf_counter() - began}


async def _scrape(at: Side) -> dict[str, float]:
    await asyncio.sleep(2.1)  # a replica reads the database at most every two seconds
    request = Request(f"{at.cluster.urls[0]}/metrics", headers={"Authorization": f"Bearer {at.cluster.token}"})
    began = time.perf_counter()
    await asyncio.to_thread(lambda: urlopen(request).read())
    return {"GET /metrics": time.perf_counter() - began}


def sizes(ended: int, queued: int | None = None) -> Size:
    """Return a size with as much of everything else as a million ended tasks have, or with another queue."""
    deep = max(100, ended // 10) if queued is None else queued
    return Size(ended, deep, max(10, deep // 100), max(100, ended // 100))


def main() -> None:
    """Fill, measure, and print the table on stderr and JSON on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ended", type=int, default=1_000_000, help="ended tasks, 1000 at least")
    parser.add_argument("--queued", type=int, help="queued tasks, a hundred for each requirement; 100 at least")
    parser.add_argument("--small", action="store_true", help="only see that it works")
    parser.add_argument("--missed", action="store_true", help="print only what misses its target")
    arguments = parser.parse_args()
    with Stage(small=arguments.small) as stage:
        found = uvloop.run(measure(stage, sizes(stage.pick(arguments.ended, 1000), arguments.queued)))
    figures = [replace(figure, command="python -m tests.bench.flat") for figure in found]
    sys.stderr.write(f"{table([f for f in figures if not arguments.missed or f.met is False])}\n")
    sys.stdout.write(orjson.dumps(report(figures), option=orjson.OPT_INDENT_2).decode() + "\n")


if __name__ == "__main__":
    main()
