"""Fan-out: one hot task at 20 frames a second, watched by a thousand clients of one replica."""

import asyncio
import gc
import time
from typing import Any

import asyncpg

from tests.bench import floor
from tests.bench.figures import Figure, percentile
from tests.bench.ingest import worker
from tests.bench.stage import Stage, cpu, main, resident
from tests.bench.wire import LightClient, LightSocket

FRAMES = 20
_STAMP = b'"data":"'


class Audience:
    """Clients that only look at the time a frame carries."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.heard = 0

    def product(self, text: bytes) -> None:
        """Take in a tracked output event."""
        start = text.find(_STAMP)
        if start > 0:
            self.took.append(time.time() - int(text[start + 8 : start + 27]) / 1e9)
        self.heard += 1

    def bare(self, text: bytes) -> None:
        """Take in a stamp."""
        self.took.append(time.time() - int(text) / 1e9)
        self.heard += 1


async def measure(stage: Stage) -> list[Figure]:
    """Watch the same frames through the product and through a bare gateway."""
    clients, seconds = stage.pick((1000, 8.0), (20, 0.5))
    with stage.database() as dsn:
        least = await _bare(dsn, clients, seconds)
    with stage.cluster(2) as cluster:
        feeder, fence = await worker(cluster, "w1", cluster.urls[0])
        task_id = fence["jobId"].partition("/")[0]
        watched = cluster.replicas[1].pid
        audience = Audience()
        empty = resident(watched)
        sockets = []
        for _ in range(clients):
            socket = await LightSocket.open(cluster.urls[1], audience.product, cluster.token)
            socket.send(_SUBSCRIBE % task_id.encode())
            sockets.append(socket)
        await _until(lambda: audience.heard >= 3 * clients)  # each is told "started", "created" and "started"
        audience.took.clear()
        gc.collect()
        before = cpu(watched)
        frames = await _feed(feeder, fence, seconds)
        async with asyncio.timeout(60):
            await _until(lambda: len(audience.took) >= frames * clients)
        each = (resident(watched) - empty) / clients / 1024
        used = (cpu(watched) - before) * 1e6 / (frames * clients)
        for socket in sockets:
            socket.close()
        feeder.close()
    p99 = percentile(audience.took, 99) * 1000
    name = f"one hot task, {clients:,} clients, {FRAMES} frames/s"
    detail = {"p50 ms": percentile(audience.took, 50) * 1000, "replica µs a client and frame": used}
    return [
        Figure(f"{name}, p99", p99, "ms", least[0], "≤ 100 ms", p99 <= 100, detail),
        Figure(f"{name}, memory", each, "KB a client", least[1], "≤ 60 KB", each <= 60),
    ]


_SUBSCRIBE = b'{"id":1,"method":"subscription","params":{"path":"stream.taskEvents","input":{"taskId":"%s"}}}'


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def _feed(feeder: LightClient, fence: dict[str, Any], seconds: float) -> int:
    began, frames = time.monotonic(), int(seconds * FRAMES)
    for number in range(1, frames + 1):
        await asyncio.sleep(max(0.0, began + number / FRAMES - time.monotonic()))
        events = [{"type": "output", "data": f"{time.time_ns()} {'x' * 200}\n"}]
        await feeder.call("workers.append", {**fence, "batch": number, "events": events})
    return frames


async def _bare(dsn: str, clients: int, seconds: float) -> tuple[float, float]:
    """The same audience at a bare gateway that gets a notification for each frame."""
    await floor.prepare(dsn)
    audience = Audience()
    pids: list[int] = []
    with floor.gateways(dsn, 1, pids) as urls:
        first = await floor.opened(urls[0], audience.bare)
        pid = pids[0]
        empty = resident(pid)
        sockets = [await LightSocket.open(urls[0], audience.bare, path="/out") for _ in range(clients - 1)]
        connection = await asyncpg.connect(dsn)
        frames, began = int(seconds * FRAMES), time.monotonic()
        for number in range(frames):
            await asyncio.sleep(max(0.0, began + number / FRAMES - time.monotonic()))
            await connection.execute("select pg_notify('floor', $1)", f"{time.time_ns()}")
        async with asyncio.timeout(60):
            await _until(lambda: audience.heard >= frames * clients)
        each = (resident(pid) - empty) / clients / 1024
        await connection.close()
        for socket in (first, *sockets):
            socket.close()
    return percentile(audience.took, 99) * 1000, each


if __name__ == "__main__":
    main(measure)
