"""Peak durable ingest: as many events a second as are acknowledged, in batches as a worker sends them under load."""

import asyncio
import time
from datetime import UTC, datetime
from itertools import count
from typing import Any

import asyncpg

from tests.bench.figures import Figure
from tests.bench.stage import Stage, cpu, gather_for, main
from tests.bench.wire import LightClient
from tests.support.program import Cluster

WORKERS = 8
BATCH = 500
LINE = "a line of output, about as long as the lines that compilers and agents write most\n"
_TABLE = """
create table if not exists bare (task_id bigint, seq bigint, job integer, attempt integer, type text, stream text,
    at timestamptz, stored_at timestamptz, data bytea, body json, primary key (task_id, seq))
"""
_INSERT = """
with written as (
    insert into bare select $1, n, 0, 1, 'output', s, a, now(), d, null
    from unnest($2::bigint[], $3::text[], $4::timestamptz[], $5::bytea[]) as e(n, s, a, d) returning 1
)
select pg_notify('bare', $1::bigint::text) from (select count(*) from written) w
"""


async def measure(stage: Stage) -> list[Figure]:
    """Fill the log through two replicas, then the same table bare."""
    seconds = stage.pick(8.0, 0.5)
    with stage.cluster(2) as cluster:
        clients = [await worker(cluster, f"w{number}", cluster.urls[number % 2]) for number in range(WORKERS)]
        before = [cpu(process.pid) for process in cluster.replicas], stage.postgres_cpu()
        stored = [0] * WORKERS
        began = time.monotonic()
        await gather_for(seconds, [_fill(client, number, stored) for number, client in enumerate(clients)])
        rate = sum(stored) / (time.monotonic() - began)
        replicas = sum(cpu(process.pid) for process in cluster.replicas) - sum(before[0])
        postgres = stage.postgres_cpu() - before[1]
        for client, _ in clients:
            client.close()
    with stage.database() as dsn:
        least = await _bare(dsn, seconds)
    detail = {
        "replica µs an event": replicas * 1e6 / max(1, sum(stored)),
        "Postgres µs an event": postgres * 1e6 / max(1, sum(stored)),
    }
    met = rate >= 60_000 and rate >= least / 2
    return [Figure("durable ingest, peak", rate, "events/s", least, "≥ 60k/s, ≥ 0.5 x floor", met, detail)]


async def worker(cluster: Cluster, name: str, url: str) -> tuple[LightClient, dict[str, Any]]:
    """Register a worker, give it a task of its own, and return its socket and its fence."""
    client = await LightClient.open(url, cluster.token)
    await client.call("tasks.create", {"prompt": "x", "agent": name})
    hello = {"workerId": name, "capabilities": [name], "instance": name}
    session = (await client.call("workers.register", hello))["session"]
    claim = {"workerId": name, "session": session, "waitSeconds": 10}
    job = (await client.call("workers.claim", claim))["jobs"][0]
    return client, {"workerId": name, "jobId": job["jobId"], "attempt": 1}


async def _fill(client: tuple[LightClient, dict[str, Any]], number: int, stored: list[int]) -> None:
    at = datetime.now(UTC).isoformat()
    events = [{"type": "output", "stream": "stdout", "data": LINE, "at": at}] * BATCH
    for batch in count(1):
        await client[0].call("workers.append", {**client[1], "batch": batch, "events": events})
        stored[number] += BATCH


async def _bare(dsn: str, seconds: float) -> float:
    """Insert the same rows from this process, with as many connections as replicas have lanes."""
    pool = await asyncpg.create_pool(dsn, min_size=4, max_size=4)
    await pool.execute(_TABLE)
    stored = [0] * 4

    async def fill(task: int) -> None:
        at, data = datetime.now(UTC), LINE.encode()
        for start in count(0, 2 * BATCH):
            numbers = list(range(start, start + 2 * BATCH))
            size = len(numbers)
            await pool.fetch(_INSERT, task, numbers, ["stdout"] * size, [at] * size, [data] * size)
            stored[task] += size

    began = time.monotonic()
    await gather_for(seconds, [fill(task) for task in range(4)])
    rate = sum(stored) / (time.monotonic() - began)
    pool.terminate()
    await asyncio.sleep(0)
    return rate


if __name__ == "__main__":
    main(measure)
