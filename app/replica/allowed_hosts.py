"""The Host headers that a replica on loopback answers.

A web page could point its own name to 127.0.0.1 (DNS rebinding) and call the replica; its Host header gives it away.
"""

from __future__ import annotations

import re

from litestar.types import ASGIApp

from app.core.reasons import refusal
from app.rpc.client.tls import is_loopback
from app.rpc.envelope import error
from app.rpc.server.calls import error_shape
from app.rpc.server.http import deny, respond
from app.rpc.server.http_request import Receive, Scope, Send
from app.settings import AppSettings

_HOST = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::\d{1,5})?", re.ASCII)


def host_name(header: str) -> str:
    """Return the name in a Host header, without port and brackets; an empty text for an invalid header."""
    match = _HOST.fullmatch(header)
    return (match[1] or match[2]) if match else ""


class HostGuard:
    """Refuses foreign Host headers before any other part sees the request."""

    def __init__(self, app: ASGIApp, settings: AppSettings) -> None:
        self._app = app
        self._guarded = is_loopback(settings.host)
        self._allowed = frozenset(name.lower() for name in settings.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if not self._guarded or scope["type"] == "lifespan" or self._is_allowed(scope):
            await self._app(scope, receive, send)  # type: ignore[arg-type]
            return
        failure = refusal("foreign_host", "this replica listens on loopback and answers to loopback names alone")
        body = error(error_shape(failure, None))
        if scope["type"] == "websocket":
            await receive()
            await deny(send, scope, failure.status, body)
        else:
            await respond(send, failure.status, body)

    def _is_allowed(self, scope: Scope) -> bool:
        header = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        name = host_name(header)
        return is_loopback(name) or name in self._allowed or header in self._allowed
