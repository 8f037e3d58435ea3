"""HTTP/1.1 at the replica's edge: uvicorn's protocol, with bounds for peers that are slow or broken.

A connection that does not bring a whole request head in time is closed; uvicorn itself waits for ever. A peer that
breaks HTTP in the middle of its own request is told so if it still can be, and is nobody's error here.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_FIRST_HEAD_SECONDS = 5.0
_NEXT_HEAD_SECONDS = 10.0  # uvicorn keeps an idle connection for less: only what trickles in gets here


class EdgeProtocol(H11Protocol):
    """One HTTP connection."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a connection."""
        super().connection_made(transport)
        self._wait_for_head(_FIRST_HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Go on to the connection's next request."""
        super().on_response_complete()
        self._wait_for_head(_NEXT_HEAD_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Tell a peer that it broke HTTP; where an answer has begun already, only close."""
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.close()

    def _wait_for_head(self, seconds: float) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self.loop.call_later(seconds, self._close_if_no_head_came)

    def _close_if_no_head_came(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.transport.get_protocol() is self and not self.transport.is_closing():
            self.transport.close()


_REFUSED_UPGRADE = "ASGI callable returned without completing handshake."


def is_no_peers_fault(record: logging.LogRecord) -> bool:
    """Filter out what uvicorn logs as errors of ours: a peer that broke HTTP, and an upgrade answered with a status.

    Uvicorn does not count an upgrade's refusal by ``websocket.http.response`` as the end of the handshake.
    """
    if record.msg == _REFUSED_UPGRADE:
        return False
    error = record.exc_info[1] if record.exc_info else None
    while error is not None:
        if isinstance(error, h11.LocalProtocolError):
            return False
        error = error.__cause__
    return True
