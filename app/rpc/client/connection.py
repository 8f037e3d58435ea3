"""Opening and closing one WebSocket, and the reason why one ended. Apart from ``socket``, which imports it late.

Most commands of the CLI open no WebSocket, and importing ``websockets`` takes longer than all else that they import.
"""

from __future__ import annotations

import asyncio

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus, WebSocketException

from app.rpc.client.tls import Trust, TrustUnusable, untrusted

_FRAME_BYTES = 16 * 1024 * 1024
_OPEN_SECONDS = 5.0
_CLOSE_SECONDS = 0.5
_RESET_SECONDS = 1.0  # longer than a close whose peer takes the close frame and does not answer


class _Connect(connect):
    """Follows no redirect: a server must not choose whom its client calls, and ``websockets`` follows to any host."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return the refusal itself."""
        return exc


async def open_socket(url: str, token: str | None, trust: Trust) -> ClientConnection:
    """Open a WebSocket at an origin. Raises any Exception; see ``why_ended``."""
    return await _Connect(
        "ws" + url.removeprefix("http") + "/trpc",
        ssl=trust.context() if url.startswith("https:") else None,
        additional_headers={"Authorization": f"Bearer {token}"} if token else {},
        compression=None,
        max_size=_FRAME_BYTES,
        open_timeout=_OPEN_SECONDS,
        close_timeout=_CLOSE_SECONDS,
        ping_interval=None,
        proxy=None,
    )


async def send(socket: ClientConnection, frame: str) -> None:
    """Send a frame, or nothing when the connection has ended: its reader notices that too."""
    try:
        await socket.send(frame)
    except ConnectionClosed:
        return


async def close_socket(socket: ClientConnection) -> None:
    """Close a connection, or reset it when its peer does not even take the close frame."""
    try:
        async with asyncio.timeout(_RESET_SECONDS):
            await socket.close()
    except TimeoutError:
        socket.transport.abort()
        await socket.wait_closed()


def why_ended(error: Exception) -> str | None:
    """Return why a connection failed or ended; None when the peer sent what no ado server sends."""
    if isinstance(error, InvalidStatus):
        return _refused_upgrade(error.response.status_code, error.response.body)
    if isinstance(error, InvalidMessage):
        if isinstance(error.__cause__, EOFError):  # from a server that stops, or from one that expects TLS
            return "the connection was closed without an answer; if that lasts, check http:// or https://"
        return "the answer is not HTTP; check http:// or https:// and the port"
    if isinstance(error, ConnectionClosed):
        return (error.rcvd.reason if error.rcvd else "") or "the connection was closed"
    if isinstance(error, (OSError, WebSocketException, TrustUnusable)):
        return untrusted(error) or str(error) or type(error).__name__
    return None


def _refused_upgrade(status: int, body: bytes | bytearray | None) -> str:
    """Return why a server opened no WebSocket: its own message if it is an ado server."""
    try:
        return str(orjson.loads(body or b"")["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answers HTTP {status} and takes no WebSocket; check the address"
