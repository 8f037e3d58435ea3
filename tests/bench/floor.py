"""The floor under the stream: the least that carries a line from a pipe through Postgres to a socket.

``gateway`` is a bare WebSocket server: what comes in on ``/in`` is inserted with one notification and acknowledged,
what is notified goes out to ``/out``. ``writer`` reads a pipe and keeps one frame in flight. No fences, no cursors, no
reconnecting: nothing can do the same with less.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import uvicorn
import uvloop

from tests.bench import pace
from tests.bench.wire import LightSocket

_INLINE = 7900
"""Bytes that a notification can carry; ado's carry none, because every login of a database may listen."""
_SCHEMA = "create table if not exists floor (seq bigint generated always as identity primary key, data bytea not null)"
_INSERT = """
with written as (insert into floor (data) values ($1) returning seq)
select pg_notify('floor', case when octet_length($1) < $2 then convert_from($1, 'UTF8') else '#' || seq end)
from written
"""


class Gateway:
    """An ASGI application."""

    def __init__(self, dsn: str, inline: int) -> None:
        self._dsn = dsn
        self._inline = inline
        self._out: set[Any] = set()
        self._arrived: asyncio.Queue[str] = asyncio.Queue()

    async def start(self) -> None:
        """Connect and listen."""
        self._pool = await asyncpg.create_pool(self._dsn, min_size=1, max_size=4)
        self._listen = await asyncpg.connect(self._dsn)
        await self._listen.add_listener("floor", lambda *notice: self._arrived.put_nowait(notice[3]))
        self._sending = asyncio.create_task(self._send_on())

    async def _send_on(self) -> None:
        while True:
            text = await self._arrived.get()
            if text.startswith("#"):
                data = await self._pool.fetchval("select data from floor where seq = $1", int(text[1:]))
                text = data.decode()
            for send in list(self._out):
                await send({"type": "websocket.send", "text": text})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one socket."""
        if scope["type"] == "lifespan":
            await receive()
            await self.start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._sending.cancel()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/out":
            self._out.add(send)
        while (message := await receive())["type"] != "websocket.disconnect":
            await self._pool.fetchval(_INSERT, message["text"].encode(), self._inline)
            await send({"type": "websocket.send", "text": "ok"})
        self._out.discard(send)


def serve(dsn: str, fd: int, inline: int) -> None:
    """Run a gateway on a socket; less than ``inline`` bytes travel in the notification itself."""
    options: dict[str, Any] = {"ws": "websockets-sansio", "ws_per_message_deflate": False, "ws_ping_interval": None}
    config = uvicorn.Config(Gateway(dsn, inline), log_level="critical", lifespan="on", loop="uvloop", **options)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


async def write(url: str) -> None:
    """Send what stands on stdin, one frame in flight."""
    acknowledged = asyncio.Event()
    wire = await LightSocket.open(url, lambda _: acknowledged.set(), path="/in")
    reader = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while data := await reader.read(2**18):
        acknowledged.clear()
        wire.send(data)
        await acknowledged.wait()
    wire.close()


class Lines:
    """Measures lines of ``pace`` as they arrive; what is written while everything starts does not count."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.seen = 0
        self._first = 0

    def arrived(self, text: bytes | str) -> None:
        """Take in whole lines."""
        now = time.time_ns()
        stamps = [int(stamp) for stamp in text.split()]
        self._first = self._first or stamps[0]
        self.seen += len(stamps)
        self.took.extend((now - stamp) / 1e9 for stamp in stamps if stamp - self._first > pace.WARM_NANOSECONDS)


@contextlib.contextmanager
def gateways(dsn: str, count: int, pids: list[int] | None = None, inline: int = _INLINE) -> Iterator[list[str]]:
    """Bare gateways as processes; their process ids are added to ``pids``."""
    processes, urls = [], []
    for _ in range(count):
        listener = socket.create_server(("127.0.0.1", 0))
        urls.append(f"http://127.0.0.1:{listener.getsockname()[1]}")
        fd = listener.fileno()
        command = [sys.executable, "-m", "tests.bench.floor", "gateway", dsn, str(fd), str(inline)]
        processes.append(subprocess.Popen(command, pass_fds=[fd]))
        listener.close()
    if pids is not None:
        pids += [process.pid for process in processes]
    try:
        yield urls
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def prepare(dsn: str) -> None:
    """Make the floor's table."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(_SCHEMA)
    await connection.close()


async def stream(dsn: str, rate: float, seconds: float, *, inline: int = _INLINE) -> list[float]:
    """Return the seconds that each line took from its write to the other gateway's client."""
    await prepare(dsn)
    lines = Lines()

    with gateways(dsn, 2, inline=inline) as urls:
        out = await opened(urls[1], lines.arrived)
        (await opened(urls[0], lambda _: None)).close()
        agent = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", '"$0" -I -S "$1" "$2" "$3" | exec "$0" -m tests.bench.floor writer "$4"',
            sys.executable, str(pace.__file__), str(rate), str(seconds), urls[0],
        )  # fmt: skip
        await agent.wait()
        await asyncio.sleep(0.2)
        out.close()
    return lines.took


async def hops(dsn: str, rounds: int) -> list[float]:
    """Return the seconds from a socket through an insert with its notification and a listener to another socket."""
    await prepare(dsn)
    took = []
    heard = asyncio.Event()
    with gateways(dsn, 2) as urls:
        out = await opened(urls[1], lambda _: heard.set())
        (await opened(urls[0], lambda _: None)).close()
        into = await LightSocket.open(urls[0], lambda _: None, path="/in")
        for _ in range(rounds):
            heard.clear()
            began = time.perf_counter()
            into.send(b"a job")
            await heard.wait()
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)
        into.close()
        out.close()
    return took


async def opened(url: str, on_text: Any) -> LightSocket:
    """Connect once the gateway is up."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                return await LightSocket.open(url, on_text, path="/out")
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    if sys.argv[1] == "gateway":
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        uvloop.run(write(sys.argv[2]))
        os._exit(0)
