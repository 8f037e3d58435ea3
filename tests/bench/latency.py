"""Stream latency: from an agent's write, through worker, replica, Postgres and another replica, to the client."""

import asyncio
import sys
from typing import Any

from app.rpc.client import Client
from tests.bench import floor, pace
from tests.bench.figures import Figure, spread
from tests.bench.stage import Stage, cpu, main
from tests.support.program import Cluster, until

RATES = (100, 1000, 5000, 20_000)


async def measure(stage: Stage) -> list[Figure]:
    """Run each rate on the floor and through the product, in turn."""
    seconds = stage.pick(6.0, 1.5)
    figures = []
    with stage.cluster(2) as cluster, stage.database() as bare:
        cluster.add_worker("w1", url=cluster.urls[0])
        until(lambda: cluster.sql("select from ado.workers where started_at is not null"), "the worker")
        for rate in stage.pick(RATES, (100,)):
            least = spread(await floor.stream(bare, rate, seconds))
            told = spread(await floor.stream(bare, rate, seconds, inline=0))
            figures += await _figures(stage, cluster, rate, seconds, least, told)
    return figures


async def _figures(stage: Stage, cluster: Cluster, rate: int, seconds: float, least: Any, told: Any) -> list[Figure]:
    before = [cpu(process.pid) for process in cluster.processes], stage.postgres_cpu()
    lines, events = await _product(cluster, rate, seconds)
    after = [cpu(process.pid) for process in cluster.processes], stage.postgres_cpu()
    complete = lines.seen >= rate * seconds * 0.95
    names = ("writer's replica", "viewer's replica", "worker")
    used = {
        f"{name} µs": (b - a) * 1e6 / max(1, lines.seen)
        for name, a, b in zip((*names, "Postgres"), (*before[0], before[1]), (*after[0], after[1]), strict=True)
    }
    found = spread(lines.took)
    detail = {"lines": lines.seen, "events": events, **used}
    p50, p99 = (found["p50Ms"], found["p99Ms"])
    quick = rate <= 1000
    near = p50 <= 2 * least["p50Ms"] and p50 <= 1.5 * told["p50Ms"]
    most = 25 if quick else 50
    aims = [
        (
            "p50",
            p50,
            least["p50Ms"],
            "≤ 2 x floor, ≤ 1.5 x the floor that reads" + (", ≤ 5 ms" if quick else ""),
            near and (p50 <= 5 or not quick),
        ),
        ("p99", p99, least["p99Ms"], f"≤ {most} ms", p99 <= most),
    ]
    return [
        Figure(
            f"write → client, {rate:,} lines/s, {name}",
            value,
            "ms",
            low,
            aim,
            met and complete,
            {"floor that is only told and then reads, ms": told[f"{name}Ms"], **detail},
        )
        for name, value, low, aim, met in aims
    ]


async def _product(cluster: Cluster, rate: int, seconds: float) -> tuple[floor.Lines, int]:
    lines = floor.Lines()
    events = 0
    async with Client([cluster.urls[1]], cluster.token) as client:
        prompt = f"exec {sys.executable} -I -S {pace.__file__} {rate} {seconds}"
        task = await client.mutate("tasks.create", {"prompt": prompt, "agent": "shell"})
        async with asyncio.timeout(seconds + 60):
            async for item in client.subscribe("stream.taskOutput", {"taskId": task["taskId"]}):
                events += 1
                lines.arrived(item.data["data"])
    return lines, events


if __name__ == "__main__":
    main(measure)
