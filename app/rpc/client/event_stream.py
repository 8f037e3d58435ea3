"""Subscriptions as server-sent events, and single calls, for a command that does one thing at a time.

The import of a WebSocket client and asyncio takes a quarter of the time of a command that only prints a log.
``BlockingClient`` has the methods of ``Client`` that a reader of a log uses, so the same code reads by either. Its
coroutines block and never suspend: ``finish`` runs them without an event loop.

It is as patient as ``Client``: a lost connection is opened again, at the next origin, and the stream goes on after its
last item. The server sends a ping every ten seconds; fifteen seconds of silence count as a loss.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from app.rpc.backoff import Backoff
from app.rpc.client.errors import CallError, Check, NoAnswer, UnusableAnswer, encode
from app.rpc.client.http import BROKEN, HttpClient, open_connection, result_of, why_broken
from app.rpc.client.items import Item, State
from app.rpc.client.reading import Response, StopReading, parse
from app.rpc.client.tls import SYSTEM, Trust
from app.rpc.envelope import ABSENT

_OPEN_SECONDS = 5.0
_SILENCE_SECONDS = 15.0
_EVENT_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_UNAVAILABLE = "SERVICE_UNAVAILABLE"
_FIELDS = (b"event", b"data", b"id")

T = TypeVar("T")


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that waits for nothing but a ``BlockingClient``."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine waits for an event loop")


class BlockingClient:
    """Calls procedures and reads subscriptions, one after the other; ``on_ping`` is called while a stream is idle.

    ``calls`` is a client whose connection single calls go on with. From the time ``until`` of the monotonic clock on,
    reading and waiting raise StopReading.
    """

    def __init__(
        self,
        urls: Sequence[str],
        token: str | None,
        *,
        on_state: Callable[[State], None],
        on_ping: Callable[[], None] = lambda: None,
        check: Check | None = None,
        trust: Trust = SYSTEM,
        calls: HttpClient | None = None,
        until: float = math.inf,
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._token = token
        self._on_state = on_state
        self._on_ping = on_ping
        self._check = check or (lambda _path, _value: None)
        self._trust = trust
        self._http = calls or HttpClient(urls, token, check=check, trust=trust)
        self._until = until
        self._turn = 0
        self._backoff = Backoff(_SHORTEST_PAUSE, _LONGEST_PAUSE, jitter=1)

    def close(self) -> None:
        """Close the connection of single calls."""
        self._http.close()

    async def query(self, path: str, input: Any = ABSENT) -> Any:
        """Call a query, again for as long as no server can answer. Raises CallError, UnusableAnswer, StopReading."""
        while True:
            try:
                return self._http.query(path, input)
            except (CallError, NoAnswer) as error:
                self._lost(State("lost", self._http.origin, _why_to_try_again(error)))

    async def subscribe(
        self, path: str, input: Any = ABSENT, *, last_event_id: str | None = None
    ) -> AsyncGenerator[Item, None]:
        """Yield the items of a subscription over any number of connections, until the server ends it.

        Raises CallError when the server ends it with an error, UnusableAnswer when an item fails its check, and
        StopReading. Data that is not JSON counts as a lost connection.
        """
        last = last_event_id
        while True:
            url = self._urls[self._turn % len(self._urls)]
            try:
                for item in self._items(url, path, input, last):
                    self._backoff.reset()
                    last = item.id or last
                    yield item
            except _Moving:
                self._lost(State("moving", url))
            except (CallError, NoAnswer) as error:
                self._lost(State("lost", url, _why_to_try_again(error)))
            else:
                return

    def _lost(self, state: State) -> None:
        """Report a loss, and go on at the next origin; after the last one with a pause. Raises StopReading."""
        self._on_state(state)
        self._turn += 1
        pause = self._backoff.next() if self._turn % len(self._urls) == 0 else 0.0
        if time.monotonic() + pause >= self._until:
            raise StopReading
        time.sleep(pause)

    def _items(self, url: str, path: str, input: Any, last: str | None) -> Iterator[Item]:
        """Yield the items of one connection until the stream ends. Raises _Moving, CallError, NoAnswer."""
        for kind, event_id, data in self._events(url, path, input, last):
            if kind == "reconnect":
                raise _Moving
            value = _parsed(url, data) if kind in ("", "serialized-error") else None
            if kind == "serialized-error":
                raise CallError.of(value)
            if kind == "":
                self._check_item(url, path, value)
            if kind != "connected":  # a server that can serve nothing sends it as well
                self._on_state(State("connected", url))
            if kind == "return":
                return
            if kind == "ping":
                self._on_ping()
            elif kind == "":
                yield Item(event_id, value)
        raise NoAnswer(url, "the connection was closed")

    def _check_item(self, url: str, path: str, value: Any) -> None:
        try:
            self._check(path, value)
        except ValueError as error:
            raise UnusableAnswer(url, path, error) from error

    def _events(self, url: str, path: str, input: Any, last: str | None) -> Iterator[tuple[str, str | None, bytes]]:
        """Yield the name, id and data of each event. Raises CallError, NoAnswer, StopReading."""
        target = f"/trpc/{path}" + ("" if input is ABSENT else "?input=" + quote(encode(input)))
        headers = {"accept": "text/event-stream"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        if last is not None:
            headers["last-event-id"] = last
        seconds = min(_OPEN_SECONDS, self._until - time.monotonic())
        if seconds <= 0:
            raise StopReading
        try:
            connection = open_connection(url, seconds, self._trust)
            try:
                connection.request("GET", target, None, headers)
                yield from _split(url, connection.getresponse(), self._until)  # type: ignore[arg-type]
            finally:
                connection.close()
        except BROKEN as error:
            if time.monotonic() >= self._until:  # a proxy may hold an answer back until it is complete
                raise StopReading from error
            raise NoAnswer(url, why_broken(error)) from error


class _Moving(Exception):
    """The server asks to connect again, to another replica."""


def _why_to_try_again(error: CallError | NoAnswer) -> str:
    """Return why no server has answered yet. Raises an error that would come again."""
    if isinstance(error, CallError) and error.code == _UNAVAILABLE:
        return error.message
    if isinstance(error, (CallError, UnusableAnswer)):
        raise error
    return str(error).removeprefix(f"{error.url}: ")


def _parsed(url: str, data: bytes) -> Any:
    try:
        return parse(data)
    except ValueError as error:
        raise NoAnswer(url, "what came is not from an ado server") from error


def _split(url: str, response: Response, until: float) -> Iterator[tuple[str, str | None, bytes]]:
    """Yield the events of a body. Raises CallError, NoAnswer, OSError, HTTPException, StopReading."""
    if response.status != 200 or not response.headers.get("content-type", "").startswith("text/event-stream"):
        result_of(url, response.status, response.read_whole())
        raise NoAnswer(url, "the answer is no stream of events, so it is not from an ado server")
    response.read_on(_SILENCE_SECONDS, until)
    rest = b""
    while piece := response.read1(_PIECE_BYTES):
        *blocks, rest = (rest + piece).split(b"\n\n")
        if len(rest) > _EVENT_BYTES:
            raise NoAnswer(url, f"an event is larger than {_EVENT_BYTES} bytes")
        for block in blocks:
            fields = dict.fromkeys(_FIELDS, b"")
            for line in block.split(b"\n"):
                name, _, value = line.partition(b":")
                fields[name] = value.removeprefix(b" ")
            yield fields[b"event"].decode("ascii"), fields[b"id"].decode("ascii") or None, fields[b"data"]
