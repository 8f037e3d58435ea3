"""The wire as one ASGI application under a base path, for HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import random
from urllib.parse import urlsplit

from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.request_id import Application
from app.rpc.server.calls import error_shape
from app.rpc.server.gate import Gate, WireLimits
from app.rpc.server.http import HttpWire, deny, respond
from app.rpc.server.http_request import Receive, Scope, Send
from app.rpc.server.registry import Registry
from app.rpc.server.sse import EventStream, EventStreams
from app.rpc.server.websocket import Socket
from app.rpc.server.websocket_frames import ClientGone


class RpcApplication:
    """Serves a registry; ``drain`` moves the clients to another replica."""

    def __init__(self, registry: Registry, gate: Gate, limits: WireLimits, *, base: str = "/trpc") -> None:
        self._registry = registry
        self._gate = gate
        self._limits = limits
        self._base = base
        self._streams = EventStreams(gate, limits)
        self._http = HttpWire(registry, gate, limits, self._streams)
        self._sockets: set[Socket] = set()
        self._draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or serve one socket."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD") and _is_foreign(scope):
            await respond(send, _FOREIGN.status, envelope.error(error_shape(_FOREIGN, None)))
        else:
            raw = scope.get("raw_path") or scope["path"].encode()
            path = raw.decode("latin-1").partition("?")[0]
            await self._http(scope, receive, send, path.removeprefix(self._base))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if refusal := _FOREIGN if _is_foreign(scope) else _DRAINING if self._draining else None:
            await receive()
            await deny(send, scope, refusal.status, envelope.error(error_shape(refusal, None)))
            return
        socket = Socket(self._registry, self._gate, self._limits, receive, send)
        self._sockets.add(socket)
        try:
            await socket.serve(scope)
        finally:
            self._sockets.discard(socket)

    def connections(self) -> dict[str, int]:
        """Return the number of long-lived connections by transport."""
        return {"websocket": len(self._sockets), "sse": len(self._streams.open)}

    @property
    def _connections(self) -> list[Socket | EventStream]:
        return [*self._sockets, *self._streams.open]

    async def drain(self, seconds: float) -> None:
        """Ask every client to reconnect, spread over half the time; at the end close the remaining connections."""
        self._draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        notices = [
            asyncio.create_task(self._notify(connection, random.uniform(0, seconds / 2)))  # noqa: S311
            for connection in self._connections
        ]
        while self._connections and loop.time() < end:
            await asyncio.sleep(0.02)
        for notice in notices:
            notice.cancel()
        await asyncio.gather(*notices, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in self._connections), return_exceptions=True)

    async def move(self, seconds: float) -> None:
        """Ask every client to reconnect to another replica, spread over some seconds; all stay served meanwhile."""
        with contextlib.suppress(TimeoutError):  # a client that reads nothing is left
            async with asyncio.timeout(seconds + self._limits.last_seconds):
                delays = ((connection, random.uniform(0, seconds)) for connection in self._connections)  # noqa: S311
                await asyncio.gather(*(self._notify(connection, delay) for connection, delay in delays))

    @staticmethod
    async def _notify(connection: Socket | EventStream, delay: float) -> None:
        await asyncio.sleep(delay)
        with contextlib.suppress(ClientGone):
            await connection.drain()


_FOREIGN = ProcedureError(
    "FORBIDDEN",
    "the request comes from a page of another origin",
    reason="foreign_origin",
    hint="call the server from a program, or from a page it serves itself",
)

_DRAINING = ProcedureError(  # 503, so that a proxy in front tries another replica at once
    "SERVICE_UNAVAILABLE",
    "this replica is stopping",
    reason="draining",
    hint="connect again: another replica answers",
)


def _is_foreign(scope: Scope) -> bool:
    """Return whether a browser page of another origin sent this; programs send no Origin."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    origin = headers.get(b"origin")
    return origin is not None and urlsplit(origin).netloc != headers.get(b"host", "")


_NO_SOCKET_HERE = ProcedureError(
    "NOT_FOUND", "no WebSocket is served on this path", reason="no_such_page", hint="open the WebSocket at /trpc"
)


class Upgrades:
    """Serves upgrades on the base path and refuses all others; ``app`` serves everything else.

    It stands before the router: that matches by prefix, and its frames would stay in memory with each socket.
    """

    def __init__(self, app: Application, sockets: Application, *, base: str) -> None:
        self._app = app
        self._sockets = sockets
        self._paths = (base, f"{base}/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        if scope["path"] in self._paths:
            await self._sockets(scope, receive, send)
            return
        await receive()  # websocket.connect
        body = envelope.error(error_shape(_NO_SOCKET_HERE, None))
        await deny(send, scope, _NO_SOCKET_HERE.status, body)
