"""No-op jobs through the API of one replica: created, claimed and finished over the wire, by one load process."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg

from tests.bench.figures import Figure
from tests.bench.stage import Stage, cpu, main
from tests.bench.wire import LightClient
from tests.support.program import Cluster

WORKERS = 4
SLOTS = 50
CREATORS = 16


async def measure(stage: Stage) -> list[Figure]:
    """Tasks of one job and of a hundred; the floor is a bare queue in SQL with the same steps."""
    jobs = stage.pick(4000, 100)
    with stage.database() as dsn:
        least = await _bare(dsn, jobs)
    figures = []
    for size in (1, 100):
        with stage.cluster(1) as cluster:
            before = cpu(cluster.replicas[0].pid), stage.postgres_cpu()
            seconds = await _through(cluster, jobs, size)
            detail = {
                "replica µs a job": (cpu(cluster.replicas[0].pid) - before[0]) * 1e6 / jobs,
                "Postgres µs a job": (stage.postgres_cpu() - before[1]) * 1e6 / jobs,
            }
        rate = jobs / seconds
        name = f"no-op jobs through the API, {size} a task"
        figures.append(Figure(name, rate, "jobs/s", least, "≥ 2k/s", rate >= 2000, detail))
    return figures


async def _through(cluster: Cluster, jobs: int, size: int) -> float:
    done = asyncio.Event()
    left = [jobs]

    def finished() -> None:
        left[0] -= 1
        if left[0] == 0:
            done.set()

    workers = [asyncio.ensure_future(_work(cluster, f"w{number}", finished)) for number in range(WORKERS)]
    clients = [await LightClient.open(cluster.urls[0], cluster.token) for _ in range(CREATORS)]
    began = time.perf_counter()

    async def create(client: LightClient, count: int) -> None:
        for _ in range(count):
            await client.call("tasks.create", {"prompt": "true", "agent": "shell", "workers": size})

    tasks = jobs // size
    shares = [tasks // CREATORS + (number < tasks % CREATORS) for number in range(CREATORS)]
    await asyncio.gather(*(create(client, share) for client, share in zip(clients, shares, strict=True)))
    async with asyncio.timeout(600):
        await done.wait()
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    for client in clients:
        client.close()
    return seconds


async def _work(cluster: Cluster, name: str, finished: Callable[[], None]) -> None:
    client = await LightClient.open(cluster.urls[0], cluster.token)
    hello = {"workerId": name, "capabilities": ["shell"], "instance": name, "slots": SLOTS}
    session = (await client.call("workers.register", hello))["session"]
    me = {"workerId": name, "session": session}
    running: set[Any] = set()
    held: dict[str, dict[str, Any]] = {}

    async def finish(job: dict[str, Any]) -> None:
        fence = {"workerId": name, "jobId": job["jobId"], "attempt": job["attempt"], "lastBatch": 0}
        held[job["jobId"]] = {"jobId": job["jobId"], "attempt": job["attempt"]}
        await client.call("workers.finish", {**fence, "outcome": "succeeded", "exitCode": 0})
        del held[job["jobId"]]
        finished()

    async def beat() -> None:
        while True:
            await asyncio.sleep(3)
            await client.call("workers.heartbeat", {**me, "jobs": list(held.values())})

    beating = asyncio.ensure_future(beat())
    try:
        while True:
            answer = await client.call("workers.claim", {**me, "limit": SLOTS, "waitSeconds": 5})
            running |= {asyncio.ensure_future(finish(job)) for job in answer["jobs"]}
            while len(running) > SLOTS // 2:
                _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        beating.cancel()
        client.close()


_TABLE = """
create table queue (id bigint generated always as identity primary key, state integer not null default 0);
create index on queue (id) where state = 0
"""
_CLAIM = """
update queue set state = 1 where id in (
    select id from queue where state = 0 order by id limit 50 for update skip locked) returning id
"""


async def _bare(dsn: str, jobs: int) -> float:
    """Insert with a notification, claim in batches, finish one by one."""
    pool = await asyncpg.create_pool(dsn, min_size=10, max_size=10)
    await pool.execute(_TABLE)
    left = [jobs]

    async def create(count: int) -> None:
        for _ in range(count):
            await pool.fetch(
                "with q as (insert into queue default values returning id) select pg_notify('q', '') from q"
            )

    async def finish(key: int) -> None:
        await pool.execute("update queue set state = 2 where id = $1 and state = 1", key)
        left[0] -= 1

    async def work() -> None:
        while left[0] > 0:
            rows = await pool.fetch(_CLAIM)
            await asyncio.gather(*(finish(row["id"]) for row in rows))
            if not rows:
                await asyncio.sleep(0.001)

    began = time.perf_counter()
    await asyncio.gather(*(create(jobs // 5) for _ in range(5)), *(work() for _ in range(WORKERS)))
    seconds = time.perf_counter() - began
    pool.terminate()
    return jobs / seconds


if __name__ == "__main__":
    main(measure)
