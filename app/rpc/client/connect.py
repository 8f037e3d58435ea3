"""Opening a WebSocket at the address that was asked for, and at no other."""

from __future__ import annotations

from websockets.asyncio.client import connect


class Connect(connect):
    """``websockets`` follows redirects to any host; a server's answer must not choose whom this client speaks to."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return the refusal itself."""
        return exc
