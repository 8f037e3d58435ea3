"""The id of a request or socket, in its log lines and in its answer.

An ``x-request-id`` of the caller or a proxy is used when it is short and plain; otherwise one is made.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

Application = Callable[[Any, Any, Any], Awaitable[None]]

current: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the current request; asyncio tasks that serve it inherit it."""

address: ContextVar[str | None] = ContextVar("address", default=None)
"""The client's address of the current request or socket."""

_NAME = b"x-request-id"
_ADDRESS_LENGTH = 64  # a proxy may pass on any text as its client's address
_PLAIN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class RequestIds:
    """Gives every request and socket an id, and adds it to the head of the answer."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Serve a request or socket under its id."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        name = _sent_id(scope) or secrets.token_hex(8).encode()
        current.set(name.decode())
        client = scope.get("client")
        address.set(str(client[0])[:_ADDRESS_LENGTH] if client else None)

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] in _STARTS:
                message["headers"] = [*message.get("headers", ()), (_NAME, name)]
            await send(message)

        await self._app(scope, receive, answer)


def _sent_id(scope: MutableMapping[str, Any]) -> bytes | None:
    value: bytes | None = dict(scope["headers"]).get(_NAME)
    return value if value is not None and _PLAIN.fullmatch(value) else None
