"""One WebSocket: many calls and subscriptions side by side (tRPC v11).

States: opening (until the caller is known), open, draining (told to reconnect, still served), closed. Each call is a
task of the socket and ends with it. One frame is sent at a time and the sender waits until the transport has taken
it, so a reader that does not read stops its subscriptions and costs no memory; PONG waits behind one frame at most.
Ids belong to the socket and are given back as they came. A call that comes while credentials are bad is told so under
its own id. A peer that says nothing for long is asked by PING and cut when it stays silent, and so is one that takes no
last word. When the replica stops, sockets are closed with 1012 and no subscription is ever told ``stopped``. Once the
caller's token is no longer valid, every call and subscription ends with that error under its id, then the socket with
1008. Every close that the server begins has a code and a reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.rate import RateLimit
from app.rpc.server.calls import answer, check_size, error_shape, items, split, to_procedure_error, with_last_event_id
from app.rpc.server.gate import Credentials, Gate, WireLimits, open_caller
from app.rpc.server.http_request import Receive, Scope, Send
from app.rpc.server.registry import Registry
from app.rpc.server.requests import Request, TooManyCalls, parse_connection_params, parse_frame

_log = logging.getLogger("ado.rpc")
_POLICY, _INTERNAL, _RESTART = 1008, 1011, 1012
_REASON_BYTES = 123  # what a close frame has room for
_REFUSED_SECONDS = 1.0  # time for a refused client's first call to arrive over a slow line
_REFUSED_NEXT_SECONDS = 0.05
_TOLD_CALLS = 10  # times the calls that a frame may have: so many are still refused one by one
_PING_BURST_SECONDS = 10


class ClientGone(Exception):
    """The client has gone."""


class Socket:
    """One connection, from its upgrade to its end."""

    def __init__(self, registry: Registry, gate: Gate, limits: WireLimits, receive: Receive, send: Send) -> None:
        self._registry = registry
        self._gate = gate
        self._limits = limits
        self._receive = receive
        self._send = send
        self._sending = asyncio.Lock()
        self._tasks: dict[asyncio.Task[None], Request] = {}
        self._works: list[asyncio.Task[None]] = []
        self._heard = asyncio.Event()
        self._subscriptions: dict[Any, asyncio.Task[None]] = {}
        self._running = asyncio.Semaphore(limits.running)
        self._bytes = 0
        self._unsent = 0
        self._pings = RateLimit(limits.pings_per_second, _PING_BURST_SECONDS * limits.pings_per_second)
        self._context: Any = None
        self._expelled: ProcedureError | None = None
        """Why the caller may call no more."""

    async def serve(self, scope: Scope) -> None:
        """Serve the connection until it ends."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})
        try:
            if await self._open(scope):
                await self._serve()
        except ClientGone:
            pass
        finally:
            await _ended(self._tasks)
            await _ended(self._works)

    async def _open(self, scope: Scope) -> bool:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = parse_qs(scope["query_string"].decode("latin-1"))
        try:
            params: dict[str, str] = {}
            if query.get("connectionParams") == ["1"]:
                async with asyncio.timeout(self._limits.opening_seconds):
                    params = parse_connection_params(await self._first_frame())
            self._context = await open_caller(self._gate, scope, Credentials(headers.get("authorization"), params))
        except ClientGone:  # the peer left before it said who it is
            raise
        except TimeoutError:
            await self._close(_POLICY, f"no connectionParams came within {self._limits.opening_seconds:g} s")
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an envelope
            await self._refuse(to_procedure_error(self._gate, error, None))
        else:
            return True
        return False

    async def _first_frame(self) -> str:
        size = 0
        while True:
            text = await self._next_text()
            size += len(text)
            if size > self._limits.opening_bytes:
                raise ProcedureError("PAYLOAD_TOO_LARGE", "the first frame is too large", reason="limit_exceeded")
            if text == envelope.PING:
                await self.send(envelope.PONG)
            elif text != envelope.PONG:
                return text

    async def _refuse(self, error: ProcedureError) -> None:
        """Say why, also under the ids of the calls that come in meanwhile, then close; all within a second."""
        await self.send(envelope.error_frame(None, error_shape(error, None)))
        with contextlib.suppress(TimeoutError, ProcedureError, TooManyCalls):
            async with asyncio.timeout(_REFUSED_SECONDS):
                await self._refuse_calls(error)
        await self._close(_POLICY, error.message)

    async def _refuse_calls(self, error: ProcedureError) -> None:
        patience = _REFUSED_SECONDS
        while True:
            async with asyncio.timeout(patience):
                text = await self._next_text()
            if text not in (envelope.PING, envelope.PONG):
                patience = _REFUSED_NEXT_SECONDS
                for request in parse_frame(text, most=self._limits.batch_calls):
                    shape = error_shape(error, request.path)
                    await self.send(envelope.error_frame(request.id, shape, jsonrpc=request.jsonrpc))

    async def _serve(self) -> None:
        self._works = [
            asyncio.create_task(work, name=f"socket {name}")
            for name, work in (("reader", self._read()), ("recheck", self._recheck()), ("pings", self._ping()))
        ]
        done, _ = await asyncio.wait(self._works, return_when=asyncio.FIRST_COMPLETED)
        errors = [work.exception() for work in done if not work.cancelled()]
        for error in errors:
            _tell(error)
        if any(error is not None and not isinstance(error, ClientGone) for error in errors):
            await self._close(_INTERNAL, "the server failed; connect again")

    async def _read(self) -> None:
        while True:
            text = await self._next_text()
            if text == envelope.PING:
                await asyncio.sleep(self._pings.take())
                await self.send(envelope.PONG)
            elif text != envelope.PONG and not await self._take(text):
                return

    async def _take(self, text: str) -> bool:
        """Begin the calls of a frame; False once it has ended the socket."""
        most = self._limits.batch_calls
        try:
            requests = parse_frame(text, most=most * _TOLD_CALLS)
        except ProcedureError as error:
            await self.send(envelope.error_frame(None, error_shape(error, None)))
            return True
        except TooManyCalls:
            await self.send(envelope.error_frame(None, error_shape(_too_many_calls(most), None)))
            await self._close(_POLICY, _too_many_calls(most).message)
            return False
        for request in requests:
            if len(requests) > most:
                await self._fail(request, _too_many_calls(most))
                await asyncio.sleep(0)
            else:
                await self._begin(request, len(text) // len(requests))
        return True

    async def _begin(self, request: Request, size: int) -> None:
        if request.method == "subscription.stop":
            if task := self._subscriptions.pop(request.id, None):
                task.cancel()
                await asyncio.wait([task])
                await self.send(envelope.state_frame(request.id, "stopped", jsonrpc=request.jsonrpc))
            return
        refused = self._refusal(request)
        if refused is not None:
            await self._fail(request, refused)
            return
        serve = self._subscribe if request.method == "subscription" else self._call
        task = asyncio.create_task(self._observed(serve, request), name=f"{request.method} {request.path}")
        self._tasks[task] = request
        self._bytes += size
        task.add_done_callback(functools.partial(self._done, size))
        if request.method == "subscription":
            self._subscriptions[request.id] = task

    def _done(self, size: int, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._bytes -= size
        if not task.cancelled():
            _tell(task.exception())

    def _refusal(self, request: Request) -> ProcedureError | None:
        if self._expelled is not None:
            return self._expelled
        if request.method == "subscription" and (refused := self._refused_subscription(request)):
            return refused
        if len(self._tasks) >= self._limits.calls or self._bytes > self._limits.call_bytes:
            return ProcedureError("TOO_MANY_REQUESTS", "too many calls are in flight", reason="limit_exceeded")
        procedure = self._registry.procedures.get(request.path)
        if procedure is None or procedure.kind != request.method:
            message = f'No "{request.method}"-procedure on path "{request.path[:200]}"'
            return self._registry.unknown(request.path, message)
        return None

    def _refused_subscription(self, request: Request) -> ProcedureError | None:
        if request.id in self._subscriptions:
            return ProcedureError("BAD_REQUEST", f"Duplicate id {str(request.id)[:100]}")
        if len(self._subscriptions) >= (limit := self._limits.subscriptions):
            return ProcedureError(
                "BAD_REQUEST", f"a socket has at most {limit} subscriptions", reason="limit_exceeded", limit=limit
            )
        if len(request.raw_input or b"") > self._limits.opening_bytes:  # it would be kept for as long as it runs
            return _too_large_input(self._limits.opening_bytes)
        return None

    async def _observed(self, serve: Callable[[Request], Awaitable[str]], request: Request) -> None:
        began, code = time.perf_counter(), "CLIENT_CLOSED_REQUEST"
        try:
            code = await serve(request)
        finally:
            self._gate.observe(request.path, "websocket", code, time.perf_counter() - began)

    async def _call(self, request: Request) -> str:
        async with self._running:
            try:
                procedure = self._registry.find(request.path)
                data = await answer(self._gate, self._context, procedure, request.input())
                check_size(len(data or b""), self._limits.answer_bytes)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an envelope
                return await self._fail(request, error)
            return await self._answer(request, data)

    async def _answer(self, request: Request, data: bytes | None) -> str:
        """Send an answer, unless so much waits for the reader already that it would fill the memory."""
        size = len(data or b"")
        if self._unsent and self._unsent + size > self._limits.unsent_bytes:
            return await self._fail(request, _too_much_unsent(self._limits.unsent_bytes))
        self._unsent += size
        try:
            await self.send(envelope.data_frame(request.id, data, jsonrpc=request.jsonrpc))
        finally:
            self._unsent -= size
        return "OK"

    async def _subscribe(self, request: Request) -> str:
        try:
            stream = self._items(request)
            await self.send(envelope.state_frame(request.id, "started", jsonrpc=request.jsonrpc))
            try:
                async for item in stream:
                    event_id, data = split(item)
                    if event_id is None:
                        frame = envelope.data_frame(request.id, data, jsonrpc=request.jsonrpc)
                    else:
                        frame = envelope.tracked_frame(request.id, event_id, data, jsonrpc=request.jsonrpc)
                    await self.send(frame)
            finally:
                await stream.aclose()  # type: ignore[attr-defined]
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an envelope
            self._subscriptions.pop(request.id, None)
            return await self._fail(request, error)
        self._subscriptions.pop(request.id, None)
        await self.send(envelope.state_frame(request.id, "stopped", jsonrpc=request.jsonrpc))
        return "OK"

    def _items(self, request: Request) -> AsyncIterator[Any]:
        value = with_last_event_id(request.input(), request.last_event_id)
        return items(self._gate, self._context, self._registry.find(request.path), value)

    async def _fail(self, request: Request, error: Exception) -> str:
        failure = to_procedure_error(self._gate, error, request.path)
        await self.send(envelope.error_frame(request.id, error_shape(failure, request.path), jsonrpc=request.jsonrpc))
        return failure.code

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(self._limits.recheck_seconds)
            try:
                await self._gate.check(self._context)
            except ProcedureError as error:
                await self._expel(error)
                return

    async def _expel(self, error: ProcedureError) -> None:
        """End every call and subscription with an error under its id, then the socket; all within ``last_seconds``."""
        self._expelled = error
        running = dict(self._tasks)
        for task in running:
            task.cancel()
        with contextlib.suppress(TimeoutError):  # of a client that reads nothing: its connection is cut
            async with asyncio.timeout(self._limits.last_seconds):
                for request in running.values():
                    shape = error_shape(error, request.path)
                    await self.send(envelope.error_frame(request.id, shape, jsonrpc=request.jsonrpc))
                await self._close(_POLICY, error.message)

    async def _ping(self) -> None:
        """Return once the peer has said nothing for long, not even when it was asked; any frame counts."""
        while True:
            self._heard.clear()
            await asyncio.sleep(self._limits.quiet_seconds)
            if self._heard.is_set():
                continue
            try:
                async with asyncio.timeout(self._limits.answer_seconds):
                    await self.send(envelope.PING)  # waits for a peer that reads nothing
                    await self._heard.wait()
            except TimeoutError:
                return

    async def drain(self) -> None:
        """Ask the client to open another socket."""
        await self.send(envelope.RECONNECT)

    async def close(self) -> None:
        """End the connection because the replica stops; nobody is told ``stopped``."""
        await _ended(self._tasks)
        await self._close(_RESTART, "the server is stopping; connect again")
        await _ended(self._works)

    async def send(self, text: str) -> None:
        """Send one frame, waiting until the transport has taken it; silent once the client has gone."""
        async with self._sending:
            try:
                await self._send({"type": "websocket.send", "text": text})
            except (RuntimeError, OSError) as error:
                raise ClientGone from error

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(self._limits.last_seconds):
                await self._send({"type": "websocket.close", "code": code, "reason": _short(reason)})
        except TimeoutError:  # the peer reads nothing; when this socket's task ends, so does its connection
            return
        except (RuntimeError, OSError) as error:
            raise ClientGone from error

    async def _next_text(self) -> str:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                raise ClientGone
            self._heard.set()
            await asyncio.sleep(0)  # whoever sends a thousand frames at once must not hold up everybody else
            text = message.get("text")
            if text is not None:
                return str(text)
            shape = error_shape(ProcedureError("PARSE_ERROR", "JSON uses text frames, not binary ones"), None)
            await self.send(envelope.error_frame(None, shape))


def _too_many_calls(limit: int) -> ProcedureError:
    return ProcedureError("BAD_REQUEST", "Batch call exceeds maximum size", reason="limit_exceeded", limit=limit)


def _too_large_input(limit: int) -> ProcedureError:
    message = f"the input of a subscription is larger than {limit} bytes"
    return ProcedureError("PAYLOAD_TOO_LARGE", message, reason="limit_exceeded", limit=limit)


def _too_much_unsent(limit: int) -> ProcedureError:
    return ProcedureError(
        "TOO_MANY_REQUESTS",
        f"more than {limit} bytes of answers wait for this socket's reader",
        reason="limit_exceeded",
        limit=limit,
    )


def _short(reason: str) -> str:
    return reason.encode()[:_REASON_BYTES].decode(errors="ignore")


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """End tasks, and wait until they have."""
    ending = [task for task in tasks if task is not asyncio.current_task()]
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def _tell(error: BaseException | None) -> None:
    """Log how a call ended that could not tell its caller; that the caller has gone is nothing to tell."""
    if error is not None and not isinstance(error, ClientGone):
        _log.error("call ended badly", exc_info=error)
