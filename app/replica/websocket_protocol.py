"""WebSocket of a replica: uvicorn's protocol, which here parses frames only when the application asks for one.

Bytes are parsed in slices, and no faster than the application handles frames. Thousands of tiny frames in one read
therefore delay no other connection. Until the caller is known, only small frames are accepted. A client that does not
read gets no pongs, because they would pile up; RFC 6455 lets an endpoint answer only the latest ping.
"""

from __future__ import annotations

from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

from app.replica.connections import Peer
from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.rate import RateLimit
from app.rpc.server.calls import error_shape
from app.rpc.server.gate import PEER, WireLimits
from app.rpc.server.lazy_event import Inbox, LazyEvent

_SLICE_BYTES = 16 * 1024
_PENDING_BYTES = 64 * 1024
"""Unparsed bytes at which reading pauses."""
_FRAGMENTS = 4096
"""Of one message; empty fragments cost memory, and no limit of bytes counts them."""
_CLOSING_SECONDS = 5.0
_UNKNOWN_CLOSING_SECONDS = 2.0
_BURST_SECONDS = 10


class ReplicaWebSocket(WebSocketsSansIOProtocol):
    """One WebSocket's connection."""

    def __init__(self, *args: Any, limits: WireLimits, **more: Any) -> None:
        super().__init__(*args, **more)
        self.queue = Inbox()  # type: ignore[assignment]
        self.writable = LazyEvent()  # type: ignore[assignment]
        self.writable.set()
        self._limits = limits
        self._pending = bytearray()
        self._wanted = False
        self._parsing = False
        self._pings = RateLimit(limits.pings_per_second, _BURST_SECONDS * limits.pings_per_second)
        self.close_timeout = _CLOSING_SECONDS
        self.conn.max_message_size = limits.opening_bytes
        self._peer: Peer = self.app_state[PEER]
        self._peer.on_known = self._welcome
        self._peer.end = self._end

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        self._pending.clear()
        self._peer.closed()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection because the replica stops.

        Uvicorn raises for a connection whose client has sent a close frame but does not read the server's, and the
        exception would end the replica's stop halfway.
        """
        if self.handshake_complete and self.conn.state is not State.OPEN and not self.close_sent:
            self.transport.close()
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Keep arriving bytes until the application asks for a frame."""
        if not self.handshake_initiated:  # the upgrade itself, which uvicorn hands over
            super().data_received(data)
        elif not self._peer.discards(len(data)):
            self._pending += data
            if not self.read_paused and len(self._pending) >= _PENDING_BYTES:
                self.read_paused = True
                self.transport.pause_reading()
            self._parse_if_wanted()

    async def receive(self) -> Any:
        """Return the next event for the application."""
        self._wanted = True
        self._parse_if_wanted()
        try:
            return await self.queue.get()
        finally:
            self._wanted = False

    def _parse_if_wanted(self) -> None:
        if self._wanted and not self._parsing and self.queue.empty():
            if self._pending:
                self._parsing = True
                self.loop.call_soon(self._parse)
            elif self.read_paused:
                self.read_paused = False
                self.transport.resume_reading()

    def _parse(self) -> None:
        self._parsing = False
        if self.transport.is_closing() or self.close_sent:
            self._pending.clear()
            return
        part = bytes(self._pending[:_SLICE_BYTES])
        del self._pending[:_SLICE_BYTES]
        super().data_received(part)
        self._parse_if_wanted()

    def handle_cont(self, event: Frame) -> None:
        """Add a fragment, up to the limit of fragments."""
        if len(self.frames) >= _FRAGMENTS:
            self._fail(CloseCode.POLICY_VIOLATION, f"a message has at most {_FRAGMENTS} fragments")
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer a ping, unless the client does not read or sends too many."""
        if self.close_sent:  # by an earlier frame of the same slice: nothing can be written any more
            return
        if self._pings.take():
            self._fail(CloseCode.POLICY_VIOLATION, f"more than {self._limits.pings_per_second} pings a second")
            return
        pong = b"".join(self.conn.data_to_send())
        if self.writable.is_set():
            self.transport.write(pong)

    def handle_parser_exception(self) -> None:
        """Send the reason to a client that broke the protocol or a limit of size, and close."""
        close = self.conn.close_sent
        if close is not None and close.code == CloseCode.MESSAGE_TOO_BIG:
            self._write_error_frame(self.conn.max_message_size or 0)
        self._close(close.code if close else CloseCode.PROTOCOL_ERROR, close.reason if close else "")

    async def send(self, message: Any) -> None:
        """Send an event of the application; after its close, frames of the client are discarded."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            self._forget_handshake()
        if message["type"] == "websocket.close" and self.close_timer is not None:
            self._finish()

    def _fail(self, code: int, reason: str) -> None:
        if self.conn.state is State.OPEN and not self.close_sent:
            self.conn.data_to_send()  # discards pongs that are not sent yet
            self.conn.send_close(code, reason)
            self._close(code, reason)

    def _close(self, code: int, reason: str) -> None:
        """Send the close frame, and give the client time to read it before the connection ends."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.close_timer = self.loop.call_later(_CLOSING_SECONDS, self.transport.close)
        self._finish()

    def _finish(self) -> None:
        self._peer.finish(self.config.ws_max_size, _CLOSING_SECONDS if self._peer.known else _UNKNOWN_CLOSING_SECONDS)

    def _write_error_frame(self, limit: int) -> None:
        error = ProcedureError(
            "PAYLOAD_TOO_LARGE", f"a frame is larger than {limit} bytes", reason="limit_exceeded", limit=limit
        )
        text = envelope.error_frame(None, error_shape(error, None)).encode()
        self.transport.write(Frame(Opcode.TEXT, text).serialize(mask=False, extensions=self.conn.extensions))

    def _forget_handshake(self) -> None:
        """Free the headers, which the parser would keep in memory for as long as the connection lasts."""
        self.request.headers.clear()
        self.response.headers.clear()

    def _welcome(self) -> None:
        """Allow large frames, and free the credentials and the other headers."""
        self.conn.max_message_size = self.config.ws_max_size
        cast("list[Any]", self.scope["headers"]).clear()

    def _end(self, late: bool) -> None:
        """End the connection, because another one takes its place."""
        if self.handshake_complete:
            self._fail(CloseCode.TRY_AGAIN_LATER, "too many connections of callers that are not known")
        else:
            self.transport.abort()
