"""HTTP/1.1 of a replica: uvicorn's protocol, with limits for clients that are slow, broken or hostile.

A connection without a whole request head in time is closed; uvicorn itself waits for ever. A client that breaks HTTP
gets an answer if that is still possible, and causes no error in the log.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.core.reasons import refusal
from app.replica.connections import Peer, Peers
from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.server.calls import error_shape
from app.rpc.server.gate import PEER, WireLimits

_NEXT_HEAD_SECONDS = 10.0  # from its first byte on; uvicorn ends a connection on which none comes
_HEAD_END = re.compile(rb"\n\r?\n")
_PHRASES = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class ReplicaHttpProtocol(H11Protocol):
    """One HTTP connection, until it ends or becomes a WebSocket."""

    peer: Peer

    def __init__(self, *args: Any, peers: Peers, limits: WireLimits, **more: Any) -> None:
        super().__init__(*args, **more)
        self._peers = peers
        self._limits = limits
        self._body_left = 0

    def connection_made(self, transport: Any) -> None:
        """Admit a connection, or answer that there is no room for it."""
        super().connection_made(transport)
        self.peer = Peer(self._peers, transport, self.client[0] if self.client else "", self._end)
        self.app_state = {**self.app_state, PEER: self.peer}
        if self._peers.admit(self.peer):
            self._wait_for_head(self._limits.opening_seconds)
        else:
            self._refuse(503, _no_room())

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self.peer.closed()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, within the limits for unknown callers."""
        if self.peer.discards(len(data)) or self._exceeds_refused_body(data):
            return
        if self.conn.their_state is h11.IDLE and self._is_huge_head(data):
            self._refuse(431, _huge_head(self._limits.opening_bytes))
            return
        self._bound_next_head()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the connection's next request; it may have begun to come during the answer."""
        self._body_left = self.config.ws_max_size
        self.peer.deadline = None
        if not self.peer.known:
            self._wait_for_head(self._limits.opening_seconds)
        super().on_response_complete()
        if self.conn.trailing_data[0]:
            self._bound_next_head()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Become a WebSocket, which has time limits of its own."""
        self.peer.deadline = None
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Answer a client that broke HTTP; only close when an answer has begun already."""
        if len(self.conn.trailing_data[0]) > self._limits.opening_bytes:
            self._refuse(431, _huge_head(self._limits.opening_bytes))
        else:
            self._refuse(400, ProcedureError("BAD_REQUEST", msg, hint="send HTTP/1.1 as RFC 9112 describes it"))

    def _bound_next_head(self) -> None:
        if self.conn.their_state is h11.IDLE and self.peer.deadline is None:
            self._wait_for_head(_NEXT_HEAD_SECONDS)

    def _wait_for_head(self, seconds: float) -> None:
        self.peer.deadline = self.loop.time() + seconds

    def _is_huge_head(self, data: bytes) -> bool:
        limit = self._limits.opening_bytes
        before = self.conn.trailing_data[0]
        return len(before) + len(data) > limit and not _HEAD_END.search((before + data[:limit])[:limit])

    def _exceeds_refused_body(self, data: bytes) -> bool:
        """Return whether an unknown caller sends more of a refused body than is read to its end."""
        if self.peer.known or self.cycle is None or not self.cycle.response_complete:
            return False
        if self.conn.their_state is not h11.SEND_BODY:
            return False
        self._body_left -= len(data)
        if self._body_left < 0:
            self.transport.close()
        return self._body_left < 0

    def _end(self, late: bool) -> None:
        """Close a connection that sent no head in time (``late``), or that is evicted."""
        if self.cycle is not None and not self.cycle.response_complete:
            if not late:
                self.transport.abort()
        elif late and not self.conn.trailing_data[0]:
            self.transport.close()
        else:
            self.transport.write(_answer(408, _late()) if late else _answer(503, _no_room()))
            self.transport.close()

    def _refuse(self, status: int, error: ProcedureError) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
            return
        self.transport.write(_answer(status, error))
        self.peer.finish(self._limits.opening_bytes)


def _no_room() -> ProcedureError:
    return refusal("too_many_connections", "this replica has no room for another connection")


def _late() -> ProcedureError:
    return ProcedureError("TIMEOUT", "the request did not come in time", hint="send the whole request at once")


def _huge_head(limit: int) -> ProcedureError:
    message = f"the head of the request is larger than {limit} bytes"
    return ProcedureError("PAYLOAD_TOO_LARGE", message, reason="limit_exceeded", limit=limit)


def _answer(status: int, error: ProcedureError) -> bytes:
    """Return the bytes of the connection's last answer."""
    body = envelope.error(error_shape(error, None))
    phrase = _PHRASES.get(status, b"Service Unavailable")
    head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (status, phrase, len(body))
    return head + (b"retry-after: 1\r\n" if status == 503 else b"") + b"connection: close\r\n\r\n" + body


_CLIENT_ERRORS = (
    "ASGI callable returned without completing response.",  # a file's body that was broken off; the cause has a log
    "ASGI callable returned without completing handshake.",
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
    "Invalid UTF-8 sequence received from client.",
)


def should_log(record: logging.LogRecord) -> bool:
    """Return False for errors of clients that uvicorn logs as errors of the server.

    They are broken HTTP, and upgrades that were refused with ``websocket.http.response``: uvicorn does not count that
    as the end of the handshake.
    """
    if record.msg in _CLIENT_ERRORS:
        return False
    error = record.exc_info[1] if record.exc_info else None
    while error is not None:
        if isinstance(error, h11.LocalProtocolError):
            return False
        error = error.__cause__
    return True
