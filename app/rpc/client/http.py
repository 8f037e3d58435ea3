"""Single blocking calls over HTTP, by the standard library alone so that it imports fast. Not thread-safe."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from app.rpc.client.errors import CallError, Check, NoAnswer, UnusableAnswer, encode
from app.rpc.client.reading import Response, parse
from app.rpc.client.tls import SYSTEM, Trust, TrustUnusable, untrusted
from app.rpc.envelope import ABSENT

_UNAVAILABLE = frozenset({"SERVICE_UNAVAILABLE", "INTERNAL_SERVER_ERROR"})
BROKEN = (OSError, http.client.HTTPException, ValueError, OverflowError)
"""What a connection raises that fails, or whose answer is not HTTP."""
_Headers = Mapping[str, str]
_JSON: _Headers = {"content-type": "application/json"}
_NO_BODIES = frozenset({404, 405, 501})
_IDLE_SECONDS = 3.0  # a server closes idle connections, and a mutation that meets the close has an unknown outcome


class HttpClient:
    """Calls procedures at the first origin that can be reached; ``urls`` are origins such as ``http://host:port``."""

    def __init__(
        self,
        urls: Sequence[str],
        token: str | None,
        *,
        timeout: float = 10.0,
        check: Check | None = None,
        trust: Trust = SYSTEM,
    ) -> None:
        self._check = check or (lambda _path, _value: None)
        self._trust = trust
        self._urls = list(dict.fromkeys(url.rstrip("/") for url in urls))
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._url = self._urls[0]
        self._used_at = 0.0

    @property
    def origin(self) -> str:
        """The origin that answered the last call."""
        return self._url

    def query(self, path: str, input: Any = ABSENT) -> Any:
        """Call a query, at the next origin when one is unavailable. Raises CallError, NoAnswer."""
        target = f"/trpc/{path}"
        if input is not ABSENT:
            target += "?input=" + quote(encode(input))
        return self._checked(path, self._call_anywhere("GET", target, None))

    def mutate(self, path: str, input: Any = ABSENT, *, resend: bool = False) -> Any:
        """Call a mutation; ``resend`` is for one that may arrive twice. Raises CallError, NoAnswer."""
        body = b"" if input is ABSENT else encode(input)
        return self._checked(path, (self._call_anywhere if resend else self._call_once)("POST", f"/trpc/{path}", body))

    def put(self, target: str, body: bytes, content_range: str) -> None:
        """Send a part of a file, at the next origin when one is unavailable. Raises CallError, NoAnswer."""
        headers = {"content-type": "application/octet-stream", "content-range": content_range}
        self._call_anywhere("PUT", target, body, headers)

    def read_range(self, target: str, first: int, last: int, size: int) -> Iterator[bytes]:
        """Yield the bytes of a file of ``size`` bytes from the first to the last, once. Raises CallError, NoAnswer."""
        complete = False
        try:
            with self._send("GET", target, None, {"range": f"bytes={first}-{last}"}) as response:
                if response.status == 206 and response.headers["content-range"] == f"bytes {first}-{last}/{size}":
                    yield from response.parts()
                    self._used_at, complete = time.monotonic(), True
                    return
                if response.status != 206:
                    self._body_result(response.status, response.read_whole())
            raise NoAnswer(self._url, "the answer is not the range of the file that was asked for")
        except BROKEN as error:
            raise NoAnswer(self._url, why_broken(error)) from error
        finally:
            if not complete:  # the rest would be read as the next answer; an error may be of this origin alone
                self.leave()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def leave(self) -> None:
        """Go on at the next origin, because this server lacks what the caller needs."""
        self.close()
        self._url = self._urls[(self._urls.index(self._url) + 1) % len(self._urls)]

    def _checked(self, path: str, value: Any) -> Any:
        try:
            self._check(path, value)
        except ValueError as error:
            raise UnusableAnswer(self._url, path, error) from error
        return value

    def _call_anywhere(self, method: str, target: str, body: bytes | None, headers: _Headers = _JSON) -> Any:
        """Call every origin in turn until one can answer."""
        for _ in self._urls[1:]:
            try:
                return self._call_once(method, target, body, headers)
            except NoAnswer:
                pass
            except CallError as error:
                if error.code not in _UNAVAILABLE:
                    raise
        return self._call_once(method, target, body, headers)

    def _call_once(self, method: str, target: str, body: bytes | None, headers: _Headers = _JSON) -> Any:
        """Call the current origin once; when it cannot answer, the next call goes to the next origin."""
        try:
            return self._call(method, target, body, headers)
        except NoAnswer:
            self.leave()
            raise
        except CallError as error:
            if error.code in _UNAVAILABLE:
                self.leave()
            raise

    def _call(self, method: str, target: str, body: bytes | None, headers: _Headers) -> Any:
        try:
            with self._send(method, target, body, {} if body is None else headers) as response:
                text = response.read_whole()
        except BROKEN as error:
            raise NoAnswer(self._url, why_broken(error)) from error
        self._used_at = time.monotonic()
        if method == "PUT":
            return self._body_result(response.status, text)
        return result_of(self._url, response.status, text)

    def _body_result(self, status: int, text: bytes) -> Any:
        """Return the answer for a file's body; a proxy that lets only calls pass is like a replica without bodies."""
        try:
            return result_of(self._url, status, text)
        except NoAnswer as error:
            if status in _NO_BODIES:
                raise CallError(str(error), {"code": "NOT_FOUND", "reason": "no_such_page"}) from None
            raise

    def _send(self, method: str, target: str, body: bytes | None, headers: _Headers) -> Response:
        connection = self._connect()
        connection.sock.settimeout(self._timeout)
        connection.request(method, target, body, {**self._headers, **headers})
        return connection.getresponse()  # type: ignore[return-value]

    def _connect(self) -> http.client.HTTPConnection:
        connection = self._connection
        # without a socket after an answer that closed the connection
        if connection is not None and connection.sock and time.monotonic() - self._used_at < _IDLE_SECONDS:
            return connection
        self.close()
        failure: Exception | None = None
        first = self._urls.index(self._url)
        for url in self._urls[first:] + self._urls[:first]:
            try:
                connection = open_connection(url, self._timeout, self._trust)
                connection.connect()
            except BROKEN as error:
                failure = error
            else:
                self._connection, self._url = connection, url
                return connection
        raise NoAnswer(self._url, why_broken(failure)) from failure


def result_of(url: str, status: int, text: bytes) -> Any:
    """Return the data of an answer's body. Raises CallError, or NoAnswer for what no ado server sends."""
    try:
        answer = parse(text)
    except ValueError:
        raise NoAnswer(url, f"the answer (HTTP {status}) is not from an ado server") from None
    if isinstance(answer, dict) and isinstance(answer.get("result"), dict):
        return answer["result"].get("data")
    if isinstance(answer, dict) and "error" in answer:
        raise CallError.of(answer["error"])
    raise NoAnswer(url, f"the answer (HTTP {status}) is not from an ado server")


def open_connection(url: str, timeout: float, trust: Trust) -> http.client.HTTPConnection:
    """Return a connection to an origin, which is not connected yet. Raises OSError, ValueError."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        try:
            context = trust.context()
        except TrustUnusable as error:
            raise OSError(str(error)) from error
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    else:
        connection = _PlainConnection(parts.hostname or "", parts.port, timeout=timeout)
    connection.response_class = Response
    return connection


class _PlainConnection(http.client.HTTPConnection):
    """Looks its host up as bytes: for a text Python imports the codec of international names, which takes 2 ms."""

    def connect(self) -> None:
        """Connect. Raises OSError, ValueError."""
        host: Any = self.host.encode() if self.host.isascii() else self.host
        self.sock = socket.create_connection((host, self.port), self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def why_broken(error: Exception | None) -> str:
    """Return why a connection failed, as a sentence for a person."""
    if isinstance(error, (http.client.BadStatusLine, http.client.LineTooLong)) and not isinstance(
        error, http.client.RemoteDisconnected
    ):
        return "the answer is not HTTP; check http:// or https:// and the port"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke before the answer was complete"
    if error is not None and (why := untrusted(error)):
        return why
    return str(error) or type(error).__name__
