"""Calls and subscriptions over one WebSocket that is opened again whenever it is lost (tRPC v11).

States: connecting, connected, lost. After a loss the client tries its origins in turn, with back-off and full jitter.
It sends its subscriptions again with their last event id, so that the server goes on right after it. It also sends
calls again that may be sent twice: queries, and mutations marked ``resend``. The other calls fail with NoAnswer,
because their outcome is unknown.

A server that cannot serve for the moment, because its database is away, counts as a loss: the next origin may serve.
Ten seconds of silence in spite of a PING count as a loss too. Refused credentials do not: every call fails with them.
A subscription's buffer is bounded, so a slow consumer stops the reading of the socket.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from app.rpc import envelope
from app.rpc.backoff import Backoff
from app.rpc.client.errors import CallError, Check, NoAnswer, UnusableAnswer, encode
from app.rpc.client.items import Item, State
from app.rpc.client.reading import parse
from app.rpc.client.subscription import Subscription
from app.rpc.client.tls import SYSTEM, Trust
from app.rpc.envelope import ABSENT

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_PING_SECONDS = 5.0
_SILENCE_SECONDS = 10.0
_WATCH_SECONDS = 1.0
_UNAVAILABLE = "SERVICE_UNAVAILABLE"
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


@dataclass(eq=False, slots=True)
class _Call:
    method: str
    path: str
    input: Any
    resend: bool
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    sent: bool = False


class Client:
    """A connection to an ado server; use it as an async context manager."""

    def __init__(
        self,
        urls: Sequence[str],
        token: str | None,
        *,
        on_state: Callable[[State], None] | None = None,
        first_contact_seconds: float | None = None,
        check: Check | None = None,
        trust: Trust = SYSTEM,
    ) -> None:
        self._check = check or (lambda _path, _value: None)
        self._trust = trust
        self._urls = [url.rstrip("/") for url in urls]
        self._token = token
        self._on_state = on_state or (lambda _: None)
        self._first_contact_seconds = first_contact_seconds
        self._calls: dict[int, _Call] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._next_id = 0
        self._socket: ClientConnection | None = None
        self._runner: asyncio.Task[None] | None = None
        self._heard_at = 0.0
        self._receiving = False
        """Whether an item waits for room in its buffer; silence is the consumer's then, not the server's."""
        self._contacted = False
        """Whether any server was ever reached."""
        self._served = False
        """Whether the server has answered anything on this connection."""
        self._moving = False
        self._refused = False
        """Whether this connection ended because its server is unavailable, or no ado server."""

    async def __aenter__(self) -> Self:
        self._runner = asyncio.create_task(self._run(), name="ado client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        self._fail_all(NoAnswer(self._urls[0], "the client was closed"))

    def use_token(self, token: str) -> bool:
        """Use another token, on a new connection; return whether it differs from the current one."""
        if token == self._token:
            return False
        self._token = token
        self.leave()
        return True

    def leave(self) -> None:
        """Go on at the next origin, because this server lacks what the caller needs."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def query(self, path: str, input: Any = ABSENT) -> Any:
        """Call a query, again on the next connection if this one breaks. Raises CallError, NoAnswer."""
        return await self._invoke(_Call("query", path, input, resend=True))

    async def mutate(self, path: str, input: Any = ABSENT, *, resend: bool = False) -> Any:
        """Call a mutation; ``resend`` is for one that may arrive twice. Raises CallError, NoAnswer."""
        return await self._invoke(_Call("mutation", path, input, resend))

    async def subscribe(
        self, path: str, input: Any = ABSENT, *, last_event_id: str | None = None
    ) -> AsyncGenerator[Item, None]:
        """Yield the items of a subscription over any number of connections, until the server ends it.

        Raises CallError when the server ends it with an error, NoAnswer when no server was ever reached.
        """
        number = self._number()
        frame = _request(number, "subscription", path, input, last_event_id)
        subscription = self._subscriptions[number] = Subscription(path, input, last_event_id)
        try:
            await self._send(frame)
            while (item := await subscription.next()) is not None:
                yield item
        finally:
            if self._subscriptions.pop(number, None) is not None:
                await self._send(envelope.stop_frame(number))

    def _number(self) -> int:
        self._next_id += 1
        return self._next_id

    async def _invoke(self, call: _Call) -> Any:
        number = self._number()
        frame = _request(number, call.method, call.path, call.input)
        self._calls[number] = call
        try:
            call.sent = self._socket is not None
            await self._send(frame)
            return await call.answer
        finally:
            self._calls.pop(number, None)

    async def _send(self, frame: str) -> None:
        """Send on the current connection; a frame that cannot be sent now is sent on the next one."""
        if self._socket is not None:
            from app.rpc.client import connection

            await connection.send(self._socket, frame)

    async def _run(self) -> None:
        turn, backoff = 0, Backoff(_SHORTEST_PAUSE, _LONGEST_PAUSE, jitter=1)
        started = time.monotonic()
        while True:
            url = self._urls[turn % len(self._urls)]
            self._served = self._moving = self._refused = False
            detail = await self._connect(url)
            if self._served and not self._refused:  # the pause after an unavailable server keeps growing
                backoff.reset()
            self._note_lost(url, detail)
            limit = self._first_contact_seconds
            if not self._contacted and limit is not None and time.monotonic() - started > limit:
                self._fail_all(NoAnswer(url, detail))
            turn += 1
            if turn % len(self._urls) == 0:
                await asyncio.sleep(backoff.next())

    async def _connect(self, url: str) -> str:
        """Stay connected to one origin for as long as it lasts; return why the connection ended."""
        from app.rpc.client import connection

        try:
            socket = await connection.open_socket(url, self._token, self._trust)
            try:
                return await self._serve(socket, url)
            finally:
                self._socket = None
                await connection.close_socket(socket)
        except Exception as error:  # noqa: BLE001 - a server can send anything; it must not end this client
            if (why := connection.why_ended(error)) is not None:
                return why
            self._refused = True
            return "what came is not from an ado server"

    async def _serve(self, socket: ClientConnection, url: str) -> str:
        self._heard_at = time.monotonic()
        self._contacted = True
        self._socket = socket  # calls from here on are sent at once; the earlier ones are sent again
        writing = asyncio.create_task(
            self._write(socket, list(self._subscriptions.items()), list(self._calls.items())), name="ado client writer"
        )
        reading = asyncio.create_task(self._read(socket, url), name="ado client reader")
        try:
            while not reading.done():
                await asyncio.wait([reading], timeout=_WATCH_SECONDS)
                silent = time.monotonic() - self._heard_at
                if not reading.done() and not self._receiving and silent > _SILENCE_SECONDS:
                    return "the server has gone silent"
            return await reading
        finally:
            for task in (writing, reading):
                task.cancel()
            await asyncio.gather(writing, reading, return_exceptions=True)

    async def _write(
        self, socket: ClientConnection, subscriptions: list[tuple[int, Subscription]], calls: list[tuple[int, _Call]]
    ) -> None:
        """Send earlier subscriptions and calls again, then PINGs; a peer that reads nothing blocks only this task."""
        for number, subscription in subscriptions:
            if number in self._subscriptions:
                last = subscription.last_event_id
                await socket.send(_request(number, "subscription", subscription.path, subscription.input, last))
        for number, call in calls:
            if number in self._calls and (not call.sent or call.resend):
                call.sent = True
                await socket.send(_request(number, call.method, call.path, call.input))
        while True:
            await asyncio.sleep(_PING_SECONDS)
            await socket.send(envelope.PING)

    async def _read(self, socket: ClientConnection, url: str) -> str:
        async for text in socket:
            self._heard_at = time.monotonic()
            if text == envelope.PING:
                await socket.send(envelope.PONG)
            elif text == envelope.PONG:
                self._note_served(url)
            else:
                frame = parse(text)
                if frame.get("method") == "reconnect":
                    self._moving = True
                    return "the server asks to connect again"
                if why := self._unavailable(frame):
                    self._refused = True
                    return why
                self._receiving = True
                try:
                    await self._receive(frame, url, len(text))
                finally:
                    self._receiving = False
        return "the connection was closed"

    def _note_served(self, url: str) -> None:
        if not self._served:
            self._served = True
            self._on_state(State("connected", url))

    def _unavailable(self, frame: dict[str, Any]) -> str | None:
        """Return the server's message when it is unavailable for a call that another origin may answer, else None."""
        if "error" not in frame:
            return None
        error, number = CallError.of(frame["error"]), frame.get("id")
        call = self._calls.get(number) if number is not None else None
        movable = number is None or number in self._subscriptions or (call is not None and call.resend)
        return error.message if error.code == _UNAVAILABLE and movable else None

    async def _receive(self, frame: dict[str, Any], url: str, size: int) -> None:
        number = frame.get("id")
        if number is None:
            error = CallError.of(frame.get("error"))
            if error.code in ("UNAUTHORIZED", "FORBIDDEN"):
                self._fail_all(error)
            return
        self._note_served(url)
        if number in self._subscriptions:
            await self._receive_item(int(number), self._subscriptions[int(number)], frame, size, url)
        elif (call := self._calls.get(number)) and not call.answer.done():
            if "error" in frame:
                call.answer.set_exception(CallError.of(frame["error"]))
            else:
                self._receive_answer(call, frame["result"].get("data"), url)

    def _receive_answer(self, call: _Call, value: Any, url: str) -> None:
        try:
            self._check(call.path, value)
        except ValueError as error:
            call.answer.set_exception(UnusableAnswer(url, call.path, error))
        else:
            call.answer.set_result(value)

    async def _receive_item(
        self, number: int, subscription: Subscription, frame: dict[str, Any], size: int, url: str
    ) -> None:
        if "error" in frame:
            self._subscriptions.pop(number, None)
            await subscription.put(CallError.of(frame["error"]), size)
            return
        result = frame["result"]
        if result["type"] == "stopped":
            self._subscriptions.pop(number, None)
            await subscription.put(None, size)
        elif result["type"] == "data":
            event_id = result.get("id")
            data = result.get("data")
            value = data if event_id is None else data["data"]
            try:
                self._check(subscription.path, value)
            except ValueError as error:
                self._subscriptions.pop(number, None)
                await subscription.put(UnusableAnswer(url, subscription.path, error), size)
                return
            await subscription.put(Item(event_id, value), size)
            subscription.last_event_id = event_id or subscription.last_event_id

    def _note_lost(self, url: str, detail: str) -> None:
        for number, call in list(self._calls.items()):
            if call.sent and not call.resend and not call.answer.done():
                self._calls.pop(number)
                call.answer.set_exception(NoAnswer(url, detail))
        self._on_state(State("moving" if self._moving else "lost", url, detail))

    def _fail_all(self, error: CallError | NoAnswer) -> None:
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(error)
        for number, subscription in list(self._subscriptions.items()):
            self._subscriptions.pop(number)
            subscription.fail(error)


def _request(call: int, method: str, path: str, value: Any, last_event_id: str | None = None) -> str:
    params: dict[str, Any] = {"path": path}
    if value is not ABSENT:
        params["input"] = value
    if last_event_id is not None:
        params["lastEventId"] = last_event_id
    return encode({"id": call, "method": method, "params": params}).decode()
