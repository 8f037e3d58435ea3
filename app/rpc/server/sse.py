"""Subscriptions over server-sent events (tRPC v11).

A subscription that ends says ``return``, one that fails ``serialized-error``. One whose replica stops says
``reconnect``, which tRPC's clients do not listen to, and is closed without ``return``: then they come back with the id
of their last event, and by ``retry`` after half a second, because another replica is there already. Errors travel on
a stream of status 200, because an ``EventSource`` hides the body of any other. One event is sent at a time and the
sender waits until the transport has taken it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, cast

from app.rpc.errors import ProcedureError
from app.rpc.server.calls import encode_item, error_shape, subscribe, to_procedure_error, with_last_event_id
from app.rpc.server.gate import Gate, WireLimits
from app.rpc.server.http_request import HttpRequest, Receive, Send
from app.rpc.server.procedure import METHODS, Procedure

_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"vary", b"trpc-accept, accept"),
]
_PING = b"event: ping\ndata: \n\n"
_RETURN = b"event: return\ndata: \n\n"
_LEFT = b""
_RECONNECT = b"event: reconnect\nretry: 500\ndata: \n\n"


class EventStreams:
    """The open event streams of a replica."""

    def __init__(self, gate: Gate, limits: WireLimits) -> None:
        self._gate = gate
        self._limits = limits
        self.open: set[EventStream] = set()

    async def serve(self, exchange: HttpRequest, procedure: Procedure, receive: Receive, send: Send) -> None:
        """Serve one subscription until it ends, its client leaves, its caller loses the right, or it is cut."""
        stream = EventStream(self._gate, self._limits, send)
        self.open.add(stream)
        try:
            await stream.serve(exchange, procedure, receive)
        finally:
            self.open.discard(stream)


class EventStream:
    """One subscription on one connection."""

    def __init__(self, gate: Gate, limits: WireLimits, send: Send) -> None:
        self._gate = gate
        self._limits = limits
        self._send = send
        self._cut = asyncio.Event()

    async def serve(self, exchange: HttpRequest, procedure: Procedure, receive: Receive) -> None:
        """Send the head, the items, and the last word of whatever ends first."""
        await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        silence = int(self._limits.ping_seconds * 3000)
        await self._write(b'event: connected\ndata: {"reconnectAfterInactivityMs":%d}\n\n' % silence)
        works = [
            asyncio.create_task(work, name=f"{name} {exchange.paths[0]}")
            for name, work in (
                ("items of", self._items(exchange, procedure)),
                ("client of", self._left(receive)),
                ("recheck of", self._recheck(exchange)),
                ("pings of", self._ping()),
                ("cut of", self._wait_cut()),
            )
        ]
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
            last = next(work.result() for work in works if work.done())
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
        with contextlib.suppress(TimeoutError):  # the transport is cut when the client does not take it
            async with asyncio.timeout(self._limits.last_seconds):
                await self._send({"type": "http.response.body", "body": last})

    async def _items(self, exchange: HttpRequest, procedure: Procedure) -> bytes:
        began, code = time.perf_counter(), "OK"
        try:
            value = self._value(exchange, procedure)
            stream = cast(Any, subscribe(self._gate, exchange.caller(), procedure, value))
            async with contextlib.aclosing(stream):
                async for item in stream:
                    event_id, data = encode_item(item)
                    name = b"" if event_id is None else b"id: " + event_id.encode() + b"\n"
                    await self._write(b"data: " + data + b"\n" + name + b"\n")
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an event
            failure = to_procedure_error(self._gate, error, exchange.paths[0])
            code = failure.code
            return _failure(failure, exchange.paths[0])
        finally:
            self._gate.observe(exchange.paths[0], "sse", code, time.perf_counter() - began)
        return _RETURN

    @staticmethod
    def _value(exchange: HttpRequest, procedure: Procedure) -> Any:
        if exchange.method != METHODS[procedure.kind]:
            message = f'Unsupported {exchange.method}-request to subscription procedure at path "{exchange.paths[0]}"'
            raise ProcedureError("METHOD_NOT_SUPPORTED", message)
        return with_last_event_id(exchange.input(0), exchange.last_event_id)

    async def _recheck(self, exchange: HttpRequest) -> bytes:
        while True:
            await asyncio.sleep(self._limits.recheck_seconds)
            try:
                await self._gate.check(exchange.context)
            except ProcedureError as error:
                return _failure(error, exchange.paths[0])

    async def _ping(self) -> bytes:
        while True:
            await asyncio.sleep(self._limits.ping_seconds)
            await self._write(_PING)

    @staticmethod
    async def _left(receive: Receive) -> bytes:
        while (await receive())["type"] != "http.disconnect":
            pass
        return _LEFT

    async def _wait_cut(self) -> bytes:
        await self._cut.wait()
        return _RECONNECT

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        await asyncio.sleep(0)  # a connection that is gone takes everything at once: let its end be noticed

    async def drain(self) -> None:
        """Let the client come back, to another replica."""
        self._cut.set()

    async def close(self) -> None:
        """The same: a client of an event stream knows no other way."""
        self._cut.set()


def _failure(error: ProcedureError, path: str) -> bytes:
    return b"event: serialized-error\ndata: " + error_shape(error, path) + b"\n\n"
