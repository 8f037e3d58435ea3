"""Many watchers: 5,000 clients of one task, 1,000 tasks with one viewer each, and a viewer that joins a log of 1 GB."""

import asyncio
import base64
import contextlib
import functools
import multiprocessing
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
import uvloop

from app.replica.connection_limits import raise_limit
from tests.bench import floor
from tests.bench.fanout import Audience
from tests.bench.figures import Figure, percentile
from tests.bench.ingest import worker
from tests.bench.stage import Stage, main, resident
from tests.bench.wire import LightClient, LightSocket
from tests.support.program import Cluster

PROCESSES = 2
"""That hold the clients' sockets, beside this one."""
FRAMES = 20
_SUBSCRIBE = b'{"id":1,"method":"subscription","params":{"path":"stream.taskEvents","input":{"taskId":"%s"}}}'
_OPENING_FRAMES = 3
"""Each client is told "started", "created" and "started"."""
_SETTINGS = {"ADO_ADDRESS_CONNECTIONS": "0", "ADO_OUTPUT_BYTES": str(4 * 2**30), "ADO_LEASE_SECONDS": "600"}
_EVENT_BYTES = 64 * 1024
_MIB = 2**20
_PAGE = """
select data from ado.events where task_id = $1 and seq > $2 order by seq limit 64
"""


async def measure(stage: Stage) -> list[Figure]:
    """Measure each kind of watchers at replicas of its own."""
    raise_limit()
    clients, tasks, size = stage.pick((5000, 1000, 2**30), (20, 4, 8 * _MIB))
    least = await _bare(stage, clients)
    with stage.cluster(2, **_SETTINGS) as cluster:
        figures = await _one_task(cluster, clients, least)
    with stage.cluster(2, **_SETTINGS) as cluster:
        figures += await _many_tasks(cluster, tasks, least[0])
    with stage.cluster(2, **_SETTINGS) as cluster:
        return figures + await _huge_log(cluster, size)


@dataclass(frozen=True, slots=True)
class Seats:
    """Where clients connect, and what each of them sends first."""

    urls: list[str]
    path: str
    token: str
    calls: list[bytes]


class Crowd:
    """Clients in processes of their own."""

    def __init__(self, pipes: list[Any]) -> None:
        self._pipes = pipes

    def heard(self) -> int:
        """Return how many frames have arrived."""
        return sum(self._ask("heard"))

    def took(self) -> list[float]:
        """Return how many seconds each stamped frame took."""
        return [seconds for part in self._ask("took") for seconds in part]

    async def until_heard(self, frames: int) -> None:
        """Wait until so many frames have arrived."""
        async with asyncio.timeout(120):
            while self.heard() < frames:
                await asyncio.sleep(0.02)

    def _ask(self, question: str) -> list[Any]:
        for pipe in self._pipes:
            pipe.send(question)
        return [pipe.recv() for pipe in self._pipes]


@contextlib.contextmanager
def _crowd(seats: Seats) -> Iterator[Crowd]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for number in range(PROCESSES):
        ours, theirs = context.Pipe()
        part = Seats(seats.urls, seats.path, seats.token, seats.calls[number::PROCESSES])
        processes.append(context.Process(target=_attend, args=(theirs, part), daemon=True))
        processes[-1].start()
        theirs.close()
        pipes.append(ours)
    try:
        yield Crowd(pipes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _attend(pipe: Any, seats: Seats) -> None:
    raise_limit()
    uvloop.run(_listen(pipe, seats))


async def _listen(pipe: Any, seats: Seats) -> None:
    audience = Audience()
    sockets = []
    for number, call in enumerate(seats.calls):
        on_text = audience.product if call else audience.bare
        socket = await LightSocket.open(seats.urls[number % len(seats.urls)], on_text, seats.token, seats.path)
        if call:
            socket.send(call)
        sockets.append(socket)
    while True:
        question = await asyncio.to_thread(pipe.recv)
        pipe.send(audience.heard if question == "heard" else audience.took)


async def _watch(
    seats: Seats, pids: list[int], opening: int, frames: int, write: Callable[[], Awaitable[Any]]
) -> tuple[float, list[float]]:
    """Return the KB that each client costs the servers, and the seconds that each of ``frames`` took to each client."""
    empty = sum(map(resident, pids))
    with _crowd(seats) as crowd:
        await crowd.until_heard(opening)
        for number in range(1, FRAMES + 1):
            await write()
            await crowd.until_heard(opening + number * frames)
        return (sum(map(resident, pids)) - empty) / len(seats.calls) / 1024, crowd.took()


async def _bare(stage: Stage, clients: int) -> tuple[float, float]:
    """As many clients at two bare gateways: their KB, and the p99 of a frame in milliseconds."""
    with stage.database() as dsn:
        await floor.prepare(dsn)
        pids: list[int] = []
        with floor.gateways(dsn, 2, pids) as urls:
            for url in urls:
                (await floor.opened(url, lambda _: None)).close()
            connection = await asyncpg.connect(dsn)
            write = functools.partial(_notify, connection)
            each, took = await _watch(Seats(urls, "/out", "", [b""] * clients), pids, 0, clients, write)
            await connection.close()
    return each, percentile(took, 99) * 1000


async def _notify(connection: Any) -> None:
    await connection.execute("select pg_notify('floor', $1)", f"{time.time_ns()}")


async def _one_task(cluster: Cluster, clients: int, least: tuple[float, float]) -> list[Figure]:
    feeder, fence = await worker(cluster, "w1", cluster.urls[0])
    writer = _Writer(feeder, [fence])
    call = _SUBSCRIBE % fence["jobId"].partition("/")[0].encode()
    seats = Seats(cluster.urls, "/trpc", cluster.token, [call] * clients)
    pids = [process.pid for process in cluster.replicas]
    each, took = await _watch(seats, pids, clients * _OPENING_FRAMES, clients, writer.write)
    feeder.close()
    p99, name = percentile(took, 99) * 1000, f"one task, {clients:,} clients of two replicas"
    return [
        Figure(f"{name}, memory", each, "KB a client", least[0], "≤ 35 KB", each <= 35),
        Figure(f"{name}, one frame, p99", p99, "ms", least[1], detail={"p50 ms": percentile(took, 50) * 1000}),
    ]


async def _many_tasks(cluster: Cluster, tasks: int, least: float) -> list[Figure]:
    """One worker holds a job of each task; each task has one viewer."""
    client = await LightClient.open(cluster.urls[0], cluster.token)
    for _ in range(tasks):
        await client.call("tasks.create", {"prompt": "x", "agent": "shell"})
    hello = {"workerId": "w1", "capabilities": ["shell"], "instance": "w1", "slots": tasks}
    session = (await client.call("workers.register", hello))["session"]
    fences: list[dict[str, Any]] = []
    while len(fences) < tasks:
        claim = {"workerId": "w1", "session": session, "waitSeconds": 10, "limit": 100}
        jobs = (await client.call("workers.claim", claim))["jobs"]
        fences += [{"workerId": "w1", "jobId": job["jobId"], "attempt": job["attempt"]} for job in jobs]
    writer = _Writer(client, fences)
    calls = [_SUBSCRIBE % fence["jobId"].partition("/")[0].encode() for fence in fences]
    seats = Seats(cluster.urls, "/trpc", cluster.token, calls)
    pids = [process.pid for process in cluster.replicas]
    each, took = await _watch(seats, pids, tasks * _OPENING_FRAMES, tasks, writer.write)
    client.close()
    p99, name = percentile(took, 99) * 1000, f"{tasks:,} tasks with one viewer each"
    detail = {"p50 ms": percentile(took, 50) * 1000}
    return [
        Figure(f"{name}, memory", each, "KB a task", least, "≤ 60 KB", each <= 60),
        Figure(f"{name}, a line in all of them at once, p99", p99, "ms", detail=detail),
    ]


class _Writer:
    """Writes a stamped line to each of some jobs at once."""

    def __init__(self, client: LightClient, fences: list[dict[str, Any]]) -> None:
        self._client = client
        self._fences = fences
        self._batch = 0

    async def write(self) -> None:
        """Write one line to each."""
        self._batch += 1
        await asyncio.gather(*map(self._append, self._fences))

    async def _append(self, fence: dict[str, Any]) -> None:
        events = [{"type": "output", "data": f"{time.time_ns()} {'x' * 200}\n"}]
        await self._client.call("workers.append", {**fence, "batch": self._batch, "events": events})


async def _huge_log(cluster: Cluster, size: int) -> list[Figure]:
    """Fill one log; join it at its end, then read all of it from its beginning."""
    feeder, fence = await worker(cluster, "w1", cluster.urls[0])
    for batch in range(1, size // (16 * _EVENT_BYTES) + 1):
        noise = base64.b64encode(os.urandom(_EVENT_BYTES // 4 * 3)).decode()
        events = [{"type": "output", "data": noise}] * 16
        await feeder.call("workers.append", {**fence, "batch": batch, "events": events})
    feeder.close()
    task, pid = fence["jobId"].partition("/")[0], cluster.replicas[1].pid
    empty = resident(pid)
    joins = [await _read(cluster, {"taskId": task, "tail": 100, "follow": False}) for _ in range(5)]
    first, last = sorted(join[0] for join in joins)[2], sorted(join[1] for join in joins)[2]
    peaks = [0]
    sampling = asyncio.ensure_future(_sample(pid, peaks))
    whole = await _read(cluster, {"taskId": task, "follow": False})
    sampling.cancel()
    more = (max(peaks) - empty) / _MIB
    least = await _bare_read(cluster.dsn, int(task.removeprefix("task-")))
    name = f"a viewer that joins a log of {size // _MIB:,} MiB"
    return [
        Figure(f"{name} at its end, first event", first * 1000, "ms", target="≤ 100 ms", met=first <= 0.1),
        Figure(f"{name} at its end, last of 100 events of 64 KB", last * 1000, "ms"),
        Figure(f"{name} and reads all of it", whole[1], "s", least, "", None, {"first event, ms": whole[0] * 1000}),
        Figure(f"{name}, more memory of the replica", more, "MiB", target="≤ 64 MiB", met=more <= 64),
    ]


async def _read(cluster: Cluster, value: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds to the first and to the last event."""
    ended = asyncio.Event()
    times: list[float] = []

    def heard(text: bytes) -> None:
        if b'"type":"stopped"' in text[-100:]:
            ended.set()
        elif b'"type":"data"' in text[:100]:
            times.append(time.perf_counter())

    socket = await LightSocket.open(cluster.urls[1], heard, cluster.token)
    began = time.perf_counter()
    call = _SUBSCRIBE.partition(b'{"taskId"')[0] + orjson.dumps(value) + b"}}"
    socket.send(call)
    async with asyncio.timeout(200):
        await ended.wait()
    socket.close()
    return times[0] - began, times[-1] - began


async def _sample(pid: int, peaks: list[int]) -> None:
    while True:
        peaks.append(resident(pid))
        await asyncio.sleep(0.1)


async def _bare_read(dsn: str, task_id: int) -> float:
    """Return the seconds in which one connection reads the same rows page by page."""
    connection = await asyncpg.connect(dsn)
    began, cursor = time.perf_counter(), 0
    while rows := await connection.fetch(_PAGE, task_id, cursor):
        cursor += len(rows)
    await connection.close()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(measure)
