"""Subscriptions over server-sent events (tRPC v11).

A subscription that ends sends ``return``; one that fails sends ``serialized-error``. When the replica stops, it sends
``reconnect`` and closes the stream without ``return``. tRPC's clients ignore ``reconnect``, but a stream without
``return`` makes them reconnect with the id of their last event. ``retry`` makes them do it after half a second, because
another replica is there already. Errors are sent with status 200, because an ``EventSource`` hides the body of any
other status. One event is sent at a time, and the sender waits until the transport has taken it.
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
_NOTHING = b""
_RECONNECT = b"event: reconnect\nretry: 500\ndata: \n\n"


class EventStreams:
    """The open event streams of a replica."""

    def __init__(self, gate: Gate, limits: WireLimits) -> None:
        self._gate = gate
        self._limits = limits
        self.open: set[EventStream] = set()

    async def serve(self, request: HttpRequest, procedure: Procedure, receive: Receive, send: Send) -> None:
        """Serve one subscription until it ends, its client leaves, its token ends, or the replica stops."""
        stream = EventStream(self._gate, self._limits, send)
        self.open.add(stream)
        try:
            await stream.serve(request, procedure, receive)
        finally:
            self.open.discard(stream)


class EventStream:
    """One subscription on one connection."""

    def __init__(self, gate: Gate, limits: WireLimits, send: Send) -> None:
        self._gate = gate
        self._limits = limits
        self._send = send
        self._stopping = asyncio.Event()

    async def serve(self, request: HttpRequest, procedure: Procedure, receive: Receive) -> None:
        """Send the head and the items, then the last event of the part that ends first."""
        await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        silence = int(self._limits.ping_seconds * 3000)
        await self._write(b'event: connected\ndata: {"reconnectAfterInactivityMs":%d}\n\n' % silence)
        parts = [
            asyncio.create_task(part, name=f"{name} {request.paths[0]}")
            for name, part in (
                ("items of", self._items(request, procedure)),
                ("client of", self._wait_left(receive)),
                ("recheck of", self._recheck(request)),
                ("pings of", self._ping()),
                ("stop of", self._wait_stopping()),
            )
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            last = next(part.result() for part in parts if part.done())
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        with contextlib.suppress(TimeoutError):  # the client does not take it: the transport is cut
            async with asyncio.timeout(self._limits.last_seconds):
                await self._send({"type": "http.response.body", "body": last})

    async def _items(self, request: HttpRequest, procedure: Procedure) -> bytes:
        started, code = time.perf_counter(), "OK"
        try:
            value = self._value(request, procedure)
            stream = cast(Any, subscribe(self._gate, request.caller(), procedure, value))
            async with contextlib.aclosing(stream):
                async for item in stream:
                    event_id, data = encode_item(item)
                    name = b"" if event_id is None else b"id: " + event_id.encode() + b"\n"
                    await self._write(b"data: " + data + b"\n" + name + b"\n")
        except Exception as error:  # noqa: BLE001 - every failure is answered with an event
            failure = to_procedure_error(self._gate, error, request.paths[0])
            code = failure.code
            return _failure(failure, request.paths[0])
        finally:
            self._gate.observe(request.paths[0], "sse", code, time.perf_counter() - started)
        return _RETURN

    @staticmethod
    def _value(request: HttpRequest, procedure: Procedure) -> Any:
        if request.method != METHODS[procedure.kind]:
            message = f'Unsupported {request.method}-request to subscription procedure at path "{request.paths[0]}"'
            raise ProcedureError("METHOD_NOT_SUPPORTED", message)
        return with_last_event_id(request.input(0), request.last_event_id)

    async def _recheck(self, request: HttpRequest) -> bytes:
        while True:
            await asyncio.sleep(self._limits.recheck_seconds)
            try:
                await self._gate.check(request.context)
            except ProcedureError as error:
                return _failure(error, request.paths[0])

    async def _ping(self) -> bytes:
        while True:
            await asyncio.sleep(self._limits.ping_seconds)
            await self._write(_PING)

    @staticmethod
    async def _wait_left(receive: Receive) -> bytes:
        while (await receive())["type"] != "http.disconnect":
            pass
        return _NOTHING

    async def _wait_stopping(self) -> bytes:
        await self._stopping.wait()
        return _RECONNECT

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        await asyncio.sleep(0)  # a lost connection takes every write at once: let the other tasks notice its end

    async def drain(self) -> None:
        """End the stream so that the client reconnects to another replica."""
        self._stopping.set()

    async def close(self) -> None:
        """End the stream in the same way: an event stream has no other message for it."""
        self._stopping.set()


def _failure(error: ProcedureError, path: str) -> bytes:
    return b"event: serialized-error\ndata: " + error_shape(error, path) + b"\n\n"
