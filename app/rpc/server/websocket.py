"""One WebSocket: many calls and subscriptions side by side (tRPC v11).

States: opening (until the caller is known), open, draining (asked to reconnect, still served), closed. Each call is a
task of the socket and ends with it. Ids belong to the socket and are returned unchanged. A client that is silent gets a
PING; it is disconnected when it does not answer, or when it does not take the close frame.

When the replica stops, sockets are closed with 1012. No subscription gets ``stopped`` then, because its client would
not resume it. Once the caller's token is no longer valid, every call and subscription ends with that error under its
id, and the socket is closed with 1008. Every close by the server has a code and a reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.rate import RateLimit
from app.rpc.server.calls import (
    check_size,
    encode_item,
    execute,
    subscribe,
    to_procedure_error,
    with_last_event_id,
)
from app.rpc.server.gate import Gate, WireLimits
from app.rpc.server.http_request import Receive, Scope, Send
from app.rpc.server.registry import Registry
from app.rpc.server.requests import Request, TooManyCalls, parse_frame, too_many_calls
from app.rpc.server.websocket_frames import INTERNAL, POLICY, RESTART, ClientGone, Frames
from app.rpc.server.websocket_opening import open_context

_log = logging.getLogger("ado.rpc")
_REFUSED_BATCHES = 10  # up to so many times the allowed calls of a frame are refused one by one
_PING_BURST_SECONDS = 10
_TURN_SECONDS = 0.005
"""After so long a subscription lets others go on: a page of a log has thousands of items, and a quick reader takes each
at once."""


class Socket:
    """One connection, from its upgrade to its end."""

    def __init__(self, registry: Registry, gate: Gate, limits: WireLimits, receive: Receive, send: Send) -> None:
        self._registry = registry
        self._gate = gate
        self._limits = limits
        self._frames = Frames(receive, send, close_seconds=limits.last_seconds)
        self._calls: dict[asyncio.Task[None], Request] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._subscriptions: dict[Any, asyncio.Task[None]] = {}
        self._running = asyncio.Semaphore(limits.running)
        self._call_bytes = 0
        """Bytes of the requests in flight."""
        self._unsent_bytes = 0
        """Bytes of answers that the client has not taken."""
        self._pings = RateLimit(limits.pings_per_second, _PING_BURST_SECONDS * limits.pings_per_second)
        self._context: Any = None
        self._token_error: ProcedureError | None = None
        """The error of every call once the caller's token is no longer valid."""

    async def serve(self, scope: Scope) -> None:
        """Serve the connection until it ends."""
        await self._frames.accept()
        try:
            self._context = await open_context(self._gate, self._limits, scope, self._frames)
            if self._context is not None:
                await self._run_loops()
        except ClientGone:
            pass
        finally:
            await _cancel(self._calls)
            await _cancel(self._loops)

    async def drain(self) -> None:
        """Ask the client to open another socket."""
        await self._frames.send(envelope.RECONNECT)

    async def close(self) -> None:
        """End the connection because the replica stops; no subscription gets ``stopped``."""
        await _cancel(self._calls)
        await self._frames.close(RESTART, "the server is stopping; connect again")
        await _cancel(self._loops)

    async def _run_loops(self) -> None:
        self._loops = [
            asyncio.create_task(loop, name=f"socket {name}")
            for name, loop in (("reader", self._read()), ("recheck", self._recheck()), ("pings", self._ping()))
        ]
        ended = asyncio.get_running_loop().create_future()  # asyncio.wait would hold more memory for each socket

        def note_end(_: asyncio.Task[None]) -> None:
            if not ended.done():
                ended.set_result(None)

        for loop in self._loops:
            loop.add_done_callback(note_end)
        await ended
        errors = [loop.exception() for loop in self._loops if loop.done() and not loop.cancelled()]
        for error in errors:
            _log_failure(error)
        if any(error is not None and not isinstance(error, ClientGone) for error in errors):
            await self._frames.close(INTERNAL, "the server failed; connect again")

    async def _read(self) -> None:
        while True:
            text = await self._frames.next_text()
            if text == envelope.PING:
                await asyncio.sleep(self._pings.take())
                await self._frames.send(envelope.PONG)
            elif text != envelope.PONG and not await self._start_calls(text):
                return

    async def _start_calls(self, text: str) -> bool:
        """Start the calls of a frame; return False when the frame ended the socket."""
        limit = self._limits.batch_calls
        try:
            requests = parse_frame(text, limit=limit * _REFUSED_BATCHES)
        except ProcedureError as error:
            await self._frames.send_error(None, error)
            return True
        except TooManyCalls:
            await self._frames.send_error(None, too_many_calls(limit))
            await self._frames.close(POLICY, too_many_calls(limit).message)
            return False
        for request in requests:
            if len(requests) > limit:
                await self._send_error(request, too_many_calls(limit))
                await asyncio.sleep(0)  # the other sockets go on between the refusals
            else:
                await self._start(request, len(text) // len(requests))
        return True

    async def _start(self, request: Request, size: int) -> None:
        if request.method == "subscription.stop":
            if task := self._subscriptions.pop(request.id, None):
                task.cancel()
                await asyncio.wait([task])
                await self._frames.send(envelope.state_frame(request.id, "stopped", jsonrpc=request.jsonrpc))
            return
        refusal = self._refusal(request)
        if refusal is not None:
            await self._send_error(request, refusal)
            return
        serve = self._serve_subscription if request.method == "subscription" else self._serve_call
        task = asyncio.create_task(self._observe(serve, request), name=f"{request.method} {request.path}")
        self._calls[task] = request
        self._call_bytes += size
        task.add_done_callback(functools.partial(self._forget, size))
        if request.method == "subscription":
            self._subscriptions[request.id] = task

    def _forget(self, size: int, task: asyncio.Task[None]) -> None:
        self._calls.pop(task, None)
        self._call_bytes -= size
        if not task.cancelled():
            _log_failure(task.exception())

    def _refusal(self, request: Request) -> ProcedureError | None:
        """Return why a call cannot start, None when it can."""
        if self._token_error is not None:
            return self._token_error
        if request.method == "subscription" and (refusal := self._subscription_refusal(request)):
            return refusal
        if len(self._calls) >= self._limits.calls or self._call_bytes > self._limits.call_bytes:
            return ProcedureError("TOO_MANY_REQUESTS", "too many calls are in flight", reason="limit_exceeded")
        procedure = self._registry.procedures.get(request.path)
        if procedure is None or procedure.kind != request.method:
            message = f'No "{request.method}"-procedure on path "{request.path[:200]}"'
            return self._registry.unknown(request.path, message)
        return None

    def _subscription_refusal(self, request: Request) -> ProcedureError | None:
        if request.id in self._subscriptions:
            return ProcedureError("BAD_REQUEST", f"Duplicate id {str(request.id)[:100]}")
        if len(self._subscriptions) >= (limit := self._limits.subscriptions):
            return ProcedureError(
                "BAD_REQUEST", f"a socket has at most {limit} subscriptions", reason="limit_exceeded", limit=limit
            )
        limit = self._limits.opening_bytes  # the input stays in memory for as long as the subscription runs
        if len(request.raw_input or b"") > limit:
            message = f"the input of a subscription is larger than {limit} bytes"
            return ProcedureError("PAYLOAD_TOO_LARGE", message, reason="limit_exceeded", limit=limit)
        return None

    async def _observe(self, serve: Callable[[Request], Awaitable[str]], request: Request) -> None:
        started, code = time.perf_counter(), "CLIENT_CLOSED_REQUEST"
        try:
            code = await serve(request)
        finally:
            self._gate.observe(request.path, "websocket", code, time.perf_counter() - started)

    async def _serve_call(self, request: Request) -> str:
        async with self._running:
            try:
                procedure = self._registry.find(request.path)
                data = await execute(self._gate, self._context, procedure, request.input())
                check_size(len(data or b""), self._limits.answer_bytes)
            except Exception as error:  # noqa: BLE001 - every failure is answered with an envelope
                return await self._send_error(request, error)
            return await self._send_answer(request, data)

    async def _send_answer(self, request: Request, data: bytes | None) -> str:
        """Send an answer, or an error when too many bytes of answers already wait for the client."""
        size, limit = len(data or b""), self._limits.unsent_bytes
        if self._unsent_bytes and self._unsent_bytes + size > limit:
            message = f"more than {limit} bytes of answers wait for this socket's reader"
            error = ProcedureError("TOO_MANY_REQUESTS", message, reason="limit_exceeded", limit=limit)
            return await self._send_error(request, error)
        self._unsent_bytes += size
        try:
            await self._frames.send(envelope.data_frame(request.id, data, jsonrpc=request.jsonrpc))
        finally:
            self._unsent_bytes -= size
        return "OK"

    async def _serve_subscription(self, request: Request) -> str:
        try:
            items = self._subscribe(request)
            await self._frames.send(envelope.state_frame(request.id, "started", jsonrpc=request.jsonrpc))
            turn_ends_at = time.monotonic() + _TURN_SECONDS
            try:
                async for item in items:
                    await self._frames.send(_item_frame(request, item))
                    if time.monotonic() >= turn_ends_at:
                        await asyncio.sleep(0)
                        turn_ends_at = time.monotonic() + _TURN_SECONDS
            finally:
                await items.aclose()  # type: ignore[attr-defined]
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - every failure is answered with an envelope
            self._subscriptions.pop(request.id, None)
            return await self._send_error(request, error)
        self._subscriptions.pop(request.id, None)
        await self._frames.send(envelope.state_frame(request.id, "stopped", jsonrpc=request.jsonrpc))
        return "OK"

    def _subscribe(self, request: Request) -> AsyncIterator[Any]:
        value = with_last_event_id(request.input(), request.last_event_id)
        return subscribe(self._gate, self._context, self._registry.find(request.path), value)

    async def _send_error(self, request: Request, error: Exception) -> str:
        failure = to_procedure_error(self._gate, error, request.path)
        await self._frames.send_error(request.id, failure, request.path, jsonrpc=request.jsonrpc)
        return failure.code

    async def _recheck(self) -> None:
        """Check the caller again from time to time; return once it is no longer valid."""
        while True:
            await asyncio.sleep(self._limits.recheck_seconds)
            try:
                await self._gate.check(self._context)
            except ProcedureError as error:
                await self._end_all(error)
                return

    async def _end_all(self, error: ProcedureError) -> None:
        """End every call and subscription with an error under its id, then the socket."""
        self._token_error = error
        ended = dict(self._calls)
        for task in ended:
            task.cancel()
        with contextlib.suppress(TimeoutError):  # the client reads nothing: its connection is cut
            async with asyncio.timeout(self._limits.last_seconds):
                for request in ended.values():
                    await self._frames.send_error(request.id, error, request.path, jsonrpc=request.jsonrpc)
                await self._frames.close(POLICY, error.message)

    async def _ping(self) -> None:
        """Send PING to a silent client; return when it does not answer. Any frame counts as an answer."""
        heard = self._frames.heard
        while True:
            heard.clear()
            await asyncio.sleep(self._limits.quiet_seconds)
            if heard.is_set():
                continue
            try:
                async with asyncio.timeout(self._limits.answer_seconds):
                    await self._frames.send(envelope.PING)  # blocks while the client reads nothing
                    await heard.wait()
            except TimeoutError:
                return


def _item_frame(request: Request, item: Any) -> str:
    event_id, data = encode_item(item)
    if event_id is None:
        return envelope.data_frame(request.id, data, jsonrpc=request.jsonrpc)
    return envelope.tracked_frame(request.id, event_id, data, jsonrpc=request.jsonrpc)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks except the current one, and wait until they have ended."""
    others = [task for task in tasks if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _log_failure(error: BaseException | None) -> None:
    """Log an error that no caller has received, except that the client has disconnected."""
    if error is not None and not isinstance(error, ClientGone):
        _log.error("call ended badly", exc_info=error)
