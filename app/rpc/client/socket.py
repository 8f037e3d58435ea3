"""Calls and subscriptions over one WebSocket that is kept up for ever (tRPC v11).

States: connecting, connected, lost. After a loss the client connects again with back-off and full jitter, going round
its origins, and sends its subscriptions again with the last event id it saw, so that the server goes on right after
it. Calls that may be sent twice (queries, and mutations marked ``resend``) are sent again as well; the others fail
with Unreachable, because their outcome is unknown. A server that cannot serve for the moment (its database is away)
counts as a loss: what may be sent twice is asked of the next origin. A subscription's buffer is bounded: a slow
consumer stops the reading of the socket. Silence for ten seconds in spite of a PING is a dead connection. Refused
credentials are not a loss: every call fails with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import orjson

from app.rpc import envelope
from app.rpc.backoff import Backoff
from app.rpc.client.errors import CallError, Check, InvalidAnswer, Unreachable, encode
from app.rpc.client.reading import parse
from app.rpc.client.stream import Item, Subscription
from app.rpc.client.tls import SYSTEM, Trust, TrustUnusable, untrusted
from app.rpc.envelope import ABSENT

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_PING_SECONDS = 5.0
_SILENCE_SECONDS = 10.0
_WATCH_SECONDS = 1.0
_CLOSE_SECONDS = 0.5
_CANNOT_SERVE = "SERVICE_UNAVAILABLE"
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_FRAME_BYTES = 16 * 1024 * 1024


class State(NamedTuple):
    """What became of the connection: ``connected``, ``lost``, or ``moving`` when the server asks to connect again."""

    kind: str
    url: str
    detail: str = ""


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
        self._streams: dict[int, Subscription] = {}
        self._next_id = 0
        self._socket: ClientConnection | None = None
        self._runner: asyncio.Task[None] | None = None
        self._heard_at = 0.0
        self._delivering = False
        self._contacted = False
        self._served = False
        self._moving = False
        self._refused = False

    async def __aenter__(self) -> Self:
        self._runner = asyncio.create_task(self._run(), name="ado client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        self._fail_all(Unreachable(self._urls[0], "the client was closed"))

    def use_token(self, token: str) -> bool:
        """Use a token, on a new connection if it is another one; return whether it is."""
        if token == self._token:
            return False
        self._token = token
        self.leave()
        return True

    def leave(self) -> None:
        """Go on at the next origin, because this server cannot do what is asked of it."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def query(self, path: str, input: Any = ABSENT) -> Any:
        """Carry out a query, again on the next connection if this one breaks. Raises CallError, Unreachable."""
        return await self._invoke(_Call("query", path, input, resend=True))

    async def mutate(self, path: str, input: Any = ABSENT, *, resend: bool = False) -> Any:
        """Carry out a mutation; ``resend`` is for one that may arrive twice. Raises CallError, Unreachable."""
        return await self._invoke(_Call("mutation", path, input, resend))

    async def subscribe(
        self, path: str, input: Any = ABSENT, *, last_event_id: str | None = None
    ) -> AsyncGenerator[Item, None]:
        """Yield the items of a subscription over any number of connections, until the server says it is over.

        Raises CallError when the server ends it with an error, Unreachable when there never was a first contact.
        """
        number = self._number()
        frame = _request(number, "subscription", path, input, last_event_id)
        stream = self._streams[number] = Subscription(path, input, last_event_id)
        try:
            await self._send(frame)
            while (item := await stream.next()) is not None:
                yield item
        finally:
            if self._streams.pop(number, None) is not None:
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
        """Send on the connection there is; what could not be sent goes out with the next one."""
        from websockets.exceptions import ConnectionClosed

        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(frame)

    async def _run(self) -> None:
        turn, backoff = 0, Backoff(_SHORTEST_PAUSE, _LONGEST_PAUSE, jitter=1)
        started = time.monotonic()
        while True:
            url = self._urls[turn % len(self._urls)]
            self._served = self._moving = self._refused = False
            detail = await self._connection(url)
            if self._served and not self._refused:  # a server that cannot serve is not asked again at once
                backoff.reset()
            self._lost(url, detail)
            limit = self._first_contact_seconds
            if not self._contacted and limit is not None and time.monotonic() - started > limit:
                self._fail_all(Unreachable(url, detail))
            turn += 1
            if turn % len(self._urls) == 0:
                await asyncio.sleep(backoff.next())

    async def _connection(self, url: str) -> str:
        """Be connected to one origin for as long as it lasts; return why it ended."""
        from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus, WebSocketException

        from app.rpc.client.connect import Connect

        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            socket = await Connect(
                "ws" + url.removeprefix("http") + "/trpc",
                ssl=self._trust.context() if url.startswith("https:") else None,
                additional_headers=headers,
                compression=None,
                max_size=_FRAME_BYTES,
                open_timeout=5,
                close_timeout=_CLOSE_SECONDS,
                ping_interval=None,
                proxy=None,
            )
            try:
                return await self._converse(socket, url)
            finally:
                self._socket = None
                await _close(socket)
        except InvalidStatus as error:
            return _refused_upgrade(error.response.status_code, error.response.body)
        except InvalidMessage as error:
            return _no_http(error)
        except ConnectionClosed as error:
            return (error.rcvd.reason if error.rcvd else "") or "the connection was closed"
        except (OSError, TimeoutError, WebSocketException, TrustUnusable) as error:
            return untrusted(error) or str(error) or type(error).__name__
        except Exception:  # noqa: BLE001 - a server can send anything; it is never the end of this client
            self._refused = True
            return "what came is not from an ado server"

    async def _converse(self, socket: ClientConnection, url: str) -> str:
        self._heard_at = time.monotonic()
        self._contacted = True
        self._socket = socket  # what is begun from here on sends itself; what there is now is sent again
        speaking = asyncio.create_task(
            self._speak(socket, list(self._streams.items()), list(self._calls.items())), name="ado client speaker"
        )
        reading = asyncio.create_task(self._read(socket, url), name="ado client reader")
        try:
            while not reading.done():
                await asyncio.wait([reading], timeout=_WATCH_SECONDS)
                silent = time.monotonic() - self._heard_at
                if not reading.done() and not self._delivering and silent > _SILENCE_SECONDS:
                    return "the server has gone silent"
            return await reading
        finally:
            for task in (speaking, reading):
                task.cancel()
            await asyncio.gather(speaking, reading, return_exceptions=True)

    async def _speak(
        self, socket: ClientConnection, streams: list[tuple[int, Subscription]], calls: list[tuple[int, _Call]]
    ) -> None:
        """Send again what there was, then PINGs. Apart from the reading: a peer that takes nothing blocks only this."""
        for number, stream in streams:
            if number in self._streams:
                last = stream.last_event_id
                await socket.send(_request(number, "subscription", stream.path, stream.input, last))
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
                self._serves(url)
            else:
                frame = parse(text)
                if frame.get("method") == "reconnect":
                    self._moving = True
                    return "the server asks to connect again"
                if why := self._refusal(frame):
                    self._refused = True
                    return why
                self._delivering = True
                try:
                    await self._deliver(frame, url, len(text))
                finally:
                    self._delivering = False
        return "the connection was closed"

    def _serves(self, url: str) -> None:
        if not self._served:
            self._served = True
            self._on_state(State("connected", url))

    def _refusal(self, frame: dict[str, Any]) -> str | None:
        """Return why the server cannot serve, where what it refuses can be asked of another one."""
        if "error" not in frame:
            return None
        error, number = CallError.of(frame["error"]), frame.get("id")
        call = self._calls.get(number) if number is not None else None
        ours = number is None or number in self._streams or (call is not None and call.resend)
        return error.message if error.code == _CANNOT_SERVE and ours else None

    async def _deliver(self, frame: dict[str, Any], url: str, size: int) -> None:
        number = frame.get("id")
        if number is None:
            error = CallError.of(frame.get("error"))
            if error.code in ("UNAUTHORIZED", "FORBIDDEN"):
                self._fail_all(error)
            return
        self._serves(url)
        if number in self._streams:
            await self._item(int(number), self._streams[int(number)], frame, size, url)
        elif (call := self._calls.get(number)) and not call.answer.done():
            if "error" in frame:
                call.answer.set_exception(CallError.of(frame["error"]))
            else:
                self._answer(call, frame["result"].get("data"), url)

    def _answer(self, call: _Call, value: Any, url: str) -> None:
        try:
            self._check(call.path, value)
        except ValueError as error:
            call.answer.set_exception(InvalidAnswer(url, call.path, error))
        else:
            call.answer.set_result(value)

    async def _item(self, number: int, stream: Subscription, frame: dict[str, Any], size: int, url: str) -> None:
        if "error" in frame:
            self._streams.pop(number, None)
            await stream.put(CallError.of(frame["error"]), size)
            return
        result = frame["result"]
        if result["type"] == "stopped":
            self._streams.pop(number, None)
            await stream.put(None, size)
        elif result["type"] == "data":
            event_id = result.get("id")
            data = result.get("data")
            value = data if event_id is None else data["data"]
            try:
                self._check(stream.path, value)
            except ValueError as error:
                self._streams.pop(number, None)
                await stream.put(InvalidAnswer(url, stream.path, error), size)
                return
            await stream.put(Item(event_id, value), size)
            stream.last_event_id = event_id or stream.last_event_id

    def _lost(self, url: str, detail: str) -> None:
        for number, call in list(self._calls.items()):
            if call.sent and not call.resend and not call.answer.done():
                self._calls.pop(number)
                call.answer.set_exception(Unreachable(url, detail))
        self._on_state(State("moving" if self._moving else "lost", url, detail))

    def _fail_all(self, error: CallError | Unreachable) -> None:
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(error)
        for number, stream in list(self._streams.items()):
            self._streams.pop(number)
            stream.fail(error)


def _request(call: int, method: str, path: str, value: Any, last_event_id: str | None = None) -> str:
    params: dict[str, Any] = {"path": path}
    if value is not ABSENT:
        params["input"] = value
    if last_event_id is not None:
        params["lastEventId"] = last_event_id
    return encode({"id": call, "method": method, "params": params}).decode()


def _no_http(error: Exception) -> str:
    if isinstance(error.__cause__, EOFError):  # by a server that stops, or by one that expects TLS
        return "the connection was closed without an answer; if that lasts, check http:// or https://"
    return "the answer is not HTTP; check http:// or https:// and the port"


def _refused_upgrade(status: int, body: bytes | bytearray | None) -> str:
    """Return why a server took no WebSocket: in its own words if it is an ado server."""
    try:
        return str(orjson.loads(body or b"")["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answers HTTP {status} and takes no WebSocket; check the address"


async def _close(socket: ClientConnection) -> None:
    """Close a connection; one that takes nothing any more, not even a farewell, is reset."""
    try:
        async with asyncio.timeout(2 * _CLOSE_SECONDS):
            await socket.close()
    except TimeoutError:
        socket.transport.abort()
        await socket.wait_closed()
