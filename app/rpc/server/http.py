"""Calls over HTTP (tRPC v11 over plain ASGI): one, a batch, a batch with answers in JSON lines, or a subscription."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.server.calls import check_size, error_shape, execute, to_procedure_error
from app.rpc.server.gate import Gate, WireLimits
from app.rpc.server.http_request import HttpRequest, Receive, Scope, Send, read
from app.rpc.server.procedure import METHODS, Procedure
from app.rpc.server.registry import Registry
from app.rpc.server.sse import EventStreams

T = TypeVar("T")
_JSON = (b"content-type", b"application/json")
_PIECE_BYTES = 64 * 1024
_VARY = (b"vary", b"trpc-accept, accept")


class HttpWire:
    """Answers HTTP requests below the base path."""

    def __init__(self, registry: Registry, gate: Gate, limits: WireLimits, streams: EventStreams) -> None:
        self._registry = registry
        self._gate = gate
        self._limits = limits
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Answer one request; ``path`` follows the base path."""
        if scope["method"] == "HEAD":
            await respond(send, 204, b"")
            return
        try:
            request = await read(self._registry, self._gate, self._limits, scope, receive, path)
        except ProcedureError as error:
            await respond(send, error.status, envelope.error(error_shape(error, None)))
            return
        procedure = None if request.batch else self._registry.procedures.get(request.paths[0])
        if procedure is not None and procedure.kind == "subscription":
            await self._streams.serve(request, procedure, receive, send)
        elif request.lines:
            await self._answer_in_lines(request, send)
        else:
            await self._answer_whole(request, send)

    async def _answer_whole(self, request: HttpRequest, send: Send) -> None:
        batch = _Batch(self._limits)
        calls = (self._call(request, batch, index, name) for index, name in enumerate(request.paths))
        answers = await asyncio.gather(*calls)
        statuses = {status for status, _ in answers}
        status = statuses.pop() if len(statuses) == 1 else 207
        allow = self._allowed(request.paths) if status == ProcedureError("METHOD_NOT_SUPPORTED", "").status else ()
        bodies = [body for _, body in answers]
        parts = [b"[", *_with_commas(bodies), b"]"] if request.batch else bodies
        await respond_in_parts(send, status, parts, allow)

    async def _answer_in_lines(self, request: HttpRequest, send: Send) -> None:
        """Answer a batch as JSON lines: a head with one promise for each call, then each answer once it is there."""
        await send({"type": "http.response.start", "status": 200, "headers": [_VARY, _JSON]})
        head = b",".join(b'"%d":[[0],[null,0,%d]]' % (index, index) for index in range(len(request.paths)))
        await send({"type": "http.response.body", "body": b"{" + head + b"}\n", "more_body": True})
        batch = _Batch(self._limits)

        async def line(index: int, path: str) -> bytes:
            _, body = await self._call(request, batch, index, path)
            return b"[%d,0,[[" % index + body + b"]]]\n"

        for finished in asyncio.as_completed([line(index, path) for index, path in enumerate(request.paths)]):
            for piece in pieces(await finished):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _call(self, request: HttpRequest, batch: _Batch, index: int, path: str) -> tuple[int, bytes]:
        async with batch.running:
            return await self._run(request, batch, index, path)

    async def _run(self, request: HttpRequest, batch: _Batch, index: int, path: str) -> tuple[int, bytes]:
        started, code = time.perf_counter(), "OK"
        try:
            context = request.caller()
            procedure = self._registry.find(path)
            check_method(request.method, procedure, path)
            if procedure.kind == "subscription":
                raise ProcedureError("BAD_REQUEST", "a subscription cannot be part of a batch")
            batch.check()
            data = await self._while_allowed(context, execute(self._gate, context, procedure, request.input(index)))
            batch.add(data)
            return 200, envelope.result(data)
        except Exception as error:  # noqa: BLE001 - every failure is answered with an envelope
            failure = to_procedure_error(self._gate, error, path)
            code = failure.code
            return failure.status, envelope.error(error_shape(failure, path))
        finally:
            self._gate.observe(path, "http", code, time.perf_counter() - started)

    async def _while_allowed(self, context: Any, call: Coroutine[Any, Any, T]) -> T:
        """Wait for a call, and check its caller again meanwhile: a long poll must not outlive its token."""
        task = asyncio.ensure_future(call)
        try:
            while not (await asyncio.wait([task], timeout=self._limits.recheck_seconds))[0]:
                await self._gate.check(context)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _allowed(self, paths: Iterable[str]) -> tuple[tuple[bytes, bytes], ...]:
        kinds = {procedure.kind for path in paths if (procedure := self._registry.procedures.get(path))}
        return tuple((b"allow", METHODS[kind].encode()) for kind in sorted(kinds)[:1])


class _Batch:
    """What the calls of one request share: slots to run in, and the limit of all their answers."""

    def __init__(self, limits: WireLimits) -> None:
        self.running = asyncio.Semaphore(limits.batch_running)
        self._limit = limits.answer_bytes
        self._size = 0

    def check(self) -> None:
        """Raise PAYLOAD_TOO_LARGE once the answers so far exceed the limit, before another call runs."""
        check_size(self._size, self._limit)

    def add(self, data: bytes | None) -> None:
        """Count an answer. Raises PAYLOAD_TOO_LARGE when all answers together exceed the limit."""
        self._size += len(data or b"")
        check_size(self._size, self._limit)


def check_method(method: str, procedure: Procedure, path: str) -> None:
    """Raise METHOD_NOT_SUPPORTED unless the method fits the procedure's kind."""
    if METHODS[procedure.kind] != method:
        message = f'Unsupported {method}-request to {procedure.kind} procedure at path "{path}"'
        raise ProcedureError("METHOD_NOT_SUPPORTED", message)


async def respond(send: Send, status: int, body: bytes, more: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send a whole answer."""
    await respond_in_parts(send, status, [body] if body else [], more)


async def respond_in_parts(
    send: Send, status: int, parts: Sequence[bytes], more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send an answer in pieces, each once the client has taken the one before: the transport holds no second copy."""
    headers = [_VARY, *more]
    if parts:
        headers += [_JSON, (b"content-length", str(sum(map(len, parts))).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if sum(map(len, parts)) <= _PIECE_BYTES:
        await send({"type": "http.response.body", "body": b"".join(parts)})
        return
    for piece in (piece for part in parts for piece in pieces(part)):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def pieces(data: bytes) -> Iterator[bytes]:
    """Yield data in the pieces in which it is sent."""
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]


def _with_commas(bodies: Iterable[bytes]) -> Iterator[bytes]:
    for index, body in enumerate(bodies):
        if index:
            yield b","
        yield body


async def deny(send: Send, scope: Scope, status: int, body: bytes) -> None:
    """Refuse a WebSocket's upgrade with an HTTP answer; a server without that extension answers 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [_JSON, (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
