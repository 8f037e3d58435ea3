"""The text frames of one WebSocket over ASGI.

One frame is sent at a time, and the sender waits until the transport has taken it. A client that does not read
therefore stops its own subscriptions and costs no memory.
"""

from __future__ import annotations

import asyncio
from typing import Any

from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.server.calls import error_shape
from app.rpc.server.http_request import Receive, Send
from app.rpc.server.lazy_event import LazyEvent

POLICY, INTERNAL, RESTART = 1008, 1011, 1012
"""Close codes: the client broke a rule, the server failed, the server stops."""
_REASON_BYTES = 123  # room for the reason in a close frame


class ClientGone(Exception):
    """The client has disconnected."""


class Frames:
    """Receives and sends text frames; ``heard`` is set by every frame of the client."""

    __slots__ = ("_close_seconds", "_receive", "_send", "_sending", "heard")

    def __init__(self, receive: Receive, send: Send, *, close_seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._close_seconds = close_seconds
        self._sending = asyncio.Lock()
        self.heard = LazyEvent()

    async def accept(self) -> None:
        """Accept the upgrade."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})

    async def next_text(self) -> str:
        """Return the next text frame; binary ones are refused. Raises ClientGone."""
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                raise ClientGone
            self.heard.set()
            await asyncio.sleep(0)  # a client that sends a thousand frames at once must not hold up the others
            text = message.get("text")
            if text is not None:
                return str(text)
            await self.send_error(None, ProcedureError("PARSE_ERROR", "JSON uses text frames, not binary ones"))

    async def send(self, text: str) -> None:
        """Send one frame and wait until the transport has taken it. Raises ClientGone."""
        async with self._sending:
            await self._send_event({"type": "websocket.send", "text": text})

    async def send_error(
        self, call: Any, error: ProcedureError, path: str | None = None, *, jsonrpc: bool = False
    ) -> None:
        """Send the error of a call; ``call`` is None for an error of the connection. Raises ClientGone."""
        await self.send(envelope.error_frame(call, error_shape(error, path), jsonrpc=jsonrpc))

    async def close(self, code: int, reason: str) -> None:
        """Send a close frame. Raises ClientGone.

        A client that does not take it in time is left: its connection is cut when the application returns.
        """
        short = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
        try:
            async with asyncio.timeout(self._close_seconds):
                await self._send_event({"type": "websocket.close", "code": code, "reason": short})
        except TimeoutError:
            return

    async def _send_event(self, event: dict[str, Any]) -> None:
        try:
            await self._send(event)
        except (RuntimeError, OSError) as error:
            raise ClientGone from error
