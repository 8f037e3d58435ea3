"""A thousand workers on one replica: each holds a job, beats, and writes ten events a second."""

import asyncio
import random
import time
from datetime import UTC, datetime
from typing import Any

from tests.bench.figures import Figure, spread
from tests.bench.stage import Stage, cpu, gather_for, main
from tests.bench.wire import LightClient
from tests.support.program import Cluster

RATE = 10
TASKS = 20
HEARTBEAT = 5.0


async def measure(stage: Stage) -> list[Figure]:
    """Sustain it for a while: nothing may pile up, no worker may become suspect, no event may be missing."""
    workers, seconds = stage.pick((1000, 15.0), (20, 1.0))
    acknowledged: list[float] = []
    with stage.cluster(1) as cluster:
        client = await LightClient.open(cluster.urls[0], cluster.token)
        for _ in range(TASKS):
            await client.call("tasks.create", {"prompt": "x", "agent": "shell", "workers": workers // TASKS})
        crew = [await _join(cluster, f"w{number}") for number in range(workers)]  # each beats from here on
        replica = cluster.replicas[0].pid
        before, began = (cpu(replica), stage.postgres_cpu()), time.monotonic()
        await gather_for(seconds, [_write(client, fence, acknowledged) for client, fence, _ in crew])
        passed = time.monotonic() - began
        used = (cpu(replica) - before[0]) / passed, (stage.postgres_cpu() - before[1]) / passed
        states = dict(cluster.sql("select state, count(*) from ado.worker_status group by state"))
        stored = cluster.sql("select count(*) from ado.events where type = 'output'")[0][0]
        for beating in (member[2] for member in crew):
            beating.cancel()
        ends = await asyncio.gather(*(member[2] for member in crew), return_exceptions=True)
        for member in crew:
            member[0].close()
        client.close()
    for end in ends:
        if not isinstance(end, asyncio.CancelledError):
            raise end
    rate = stored / passed
    wanted = workers * RATE
    lag = spread(acknowledged)
    met = rate >= 0.95 * wanted and states.get("suspect", 0) == 0 and states.get("dead", 0) == 0
    detail = {"written → acknowledged p50 ms": lag["p50Ms"], "p99 ms": lag["p99Ms"], "states": states,
              "replica cores": used[0], "Postgres cores": used[1]}  # fmt: skip
    what = f"{workers:,} workers on one replica, {RATE} events/s each, stored"
    return [Figure(what, rate, "events/s", float(wanted), f"all {wanted:,}, no worker suspect", met, detail)]


async def _join(cluster: Cluster, name: str) -> tuple[LightClient, dict[str, Any], asyncio.Future[None]]:
    client = await LightClient.open(cluster.urls[0], cluster.token)
    hello = {"workerId": name, "capabilities": ["shell"], "instance": name}
    session = (await client.call("workers.register", hello))["session"]
    me = {"workerId": name, "session": session}
    job = (await client.call("workers.claim", {**me, "waitSeconds": 10}))["jobs"][0]
    fence = {"workerId": name, "jobId": job["jobId"], "attempt": job["attempt"]}
    return client, fence, asyncio.ensure_future(_beat(client, me, fence))


async def _write(client: LightClient, fence: dict[str, Any], acknowledged: list[float]) -> None:
    """Write an event each tenth of a second, one batch in flight; what comes meanwhile is the next batch."""
    batch, sent = 0, 0
    began = time.monotonic() + random.random() / RATE
    while True:
        await asyncio.sleep(max(0.0, began + sent / RATE - time.monotonic()))
        due = max(1, int((time.monotonic() - began) * RATE) + 1 - sent)
        at = datetime.now(UTC).isoformat()
        first = began + sent / RATE
        batch, sent = batch + 1, sent + due
        events = [{"type": "output", "stream": "stdout", "data": "one line of output\n", "at": at}] * due
        await client.call("workers.append", {**fence, "batch": batch, "events": events})
        acknowledged.append(time.monotonic() - first)


async def _beat(client: LightClient, me: dict[str, Any], fence: dict[str, Any]) -> None:
    job = {"jobId": fence["jobId"], "attempt": fence["attempt"]}
    await asyncio.sleep(random.random() * HEARTBEAT)
    while True:
        answer = await client.call("workers.heartbeat", {**me, "jobs": [job], "at": datetime.now(UTC).isoformat()})
        if answer["lost"]:
            raise AssertionError(f"{me['workerId']} lost its job")
        await asyncio.sleep(HEARTBEAT * random.uniform(0.8, 1.0))


if __name__ == "__main__":
    main(measure)
