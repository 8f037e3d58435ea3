"""Runs the load in procrastinate or pgqueuer: ``python_peer.py PEER MODE DSN COUNT``; prints JSON.

Mode ``jobs`` creates jobs that do nothing from 16 tasks while a worker runs them, and prints the seconds until the
database has the end of every job. Mode ``pickup`` creates one job at a time for an idle worker, and prints for each the
seconds from the call until the job's function runs. Producer and worker share the process, which only shortens the way.
"""

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import procrastinate
import uvloop
from pgqueuer import AsyncpgPoolDriver, PgQueuer, Queries

CREATORS = 16
CONCURRENCY = 200
"""Jobs that the worker runs at a time, as many as ado's four workers in ``noop``."""
_IDLE_SECONDS = 0.02  # the worker waits again by then
_CHECK_SECONDS = 0.005

Create = Callable[[], Awaitable[object]]
Ran = Callable[[], None]


@contextlib.asynccontextmanager
async def run_procrastinate(dsn: str, ran: Ran) -> AsyncIterator[tuple[Create, str]]:
    """Run a worker; yield how to create a job, and a query that counts the jobs that have not ended."""
    connector = procrastinate.PsycopgConnector(conninfo=dsn, min_size=10, max_size=10)
    app = procrastinate.App(connector=connector)

    @app.task(name="nothing")
    async def nothing() -> None:
        ran()

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        work = app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False, shutdown_graceful_timeout=1)
        worker = asyncio.create_task(work)
        yield nothing.defer_async, "select count(*) from procrastinate_jobs where status <> 'succeeded'"
        await _cancelled(worker)


@contextlib.asynccontextmanager
async def run_pgqueuer(dsn: str, ran: Ran) -> AsyncIterator[tuple[Create, str]]:
    """Run a worker; yield how to create a job, and a query that counts the jobs that have not ended."""
    async with asyncpg.create_pool(dsn, min_size=10, max_size=10) as pool:
        driver = AsyncpgPoolDriver(pool)
        queries = Queries(driver)
        await queries.install()
        queue = PgQueuer(driver)

        @queue.entrypoint("nothing")
        async def nothing(_: object) -> None:
            ran()

        worker = asyncio.create_task(queue.run(batch_size=50, max_concurrent_tasks=CONCURRENCY))
        yield lambda: queries.enqueue("nothing", None), "select count(*) from pgqueuer"
        queue.shutdown.set()
        await asyncio.wait([worker], timeout=2)
        await _cancelled(worker)


async def measure_jobs(peer: str, dsn: str, count: int) -> float:
    """Return the seconds from the first creation until the database has the end of every job."""
    connection = await asyncpg.connect(dsn)
    async with PEERS[peer](dsn, lambda: None) as (create, unfinished):
        await create()
        await _ended(connection, unfinished)

        async def create_share(share: int) -> None:
            for _ in range(share):
                await create()

        began = time.perf_counter()
        await asyncio.gather(*(create_share(count // CREATORS) for _ in range(CREATORS)))
        await _ended(connection, unfinished)
        seconds = time.perf_counter() - began
    await connection.close()
    return seconds * count / (count // CREATORS * CREATORS)


async def measure_pickup(peer: str, dsn: str, count: int) -> list[float]:
    """Return for each job the seconds from the call until its function runs."""
    running = asyncio.Event()
    took = []
    async with PEERS[peer](dsn, running.set) as (create, _):
        for _ in range(count + 1):
            await asyncio.sleep(_IDLE_SECONDS)
            running.clear()
            began = time.perf_counter()
            await create()
            await running.wait()
            took.append(time.perf_counter() - began)
    return took[1:]  # the first one waits for the worker's start


async def _ended(connection: asyncpg.Connection, unfinished: str) -> None:
    while await connection.fetchval(unfinished):
        await asyncio.sleep(_CHECK_SECONDS)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=5)


PEERS = {"procrastinate": run_procrastinate, "pgqueuer": run_pgqueuer}

if __name__ == "__main__":
    logging.getLogger("procrastinate").setLevel(logging.ERROR)  # it warns of an app in a main module
    _, name, mode, address, number = sys.argv
    measure = {"jobs": measure_jobs, "pickup": measure_pickup}[mode]
    sys.stdout.write(json.dumps(uvloop.run(measure(name, address, int(number)))) + "\n")
