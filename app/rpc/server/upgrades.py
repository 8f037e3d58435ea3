"""Which paths take a WebSocket: the API's base path alone. An upgrade anywhere else is answered with 404."""

from __future__ import annotations

from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.request_id import Application
from app.rpc.server.calls import error_shape
from app.rpc.server.exchange import Receive, Scope, Send
from app.rpc.server.http import deny

_NO_SOCKET_HERE = ProcedureError(
    "NOT_FOUND", "no WebSocket is served on this path", reason="no_such_page", hint="open the WebSocket at /trpc"
)


class Upgrades:
    """Refuses upgrades on other paths before a router, which may match by prefix, sees them."""

    def __init__(self, app: Application, *, base: str) -> None:
        self._app = app
        self._paths = (base, f"{base}/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "websocket" or scope["path"] in self._paths:
            await self._app(scope, receive, send)
            return
        await receive()  # websocket.connect
        body = envelope.error(error_shape(_NO_SOCKET_HERE, None))
        await deny(send, scope, _NO_SOCKET_HERE.status, body)
