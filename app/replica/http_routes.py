"""The routes besides procedures that need a token: ``/metrics`` and ``/trpc/ado.d.ts``.

Metrics are needed most while the database is away. A token that was valid within the last hour is therefore accepted
while the database does not answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from app.access.auth import READ
from app.access.context import Context
from app.core.reasons import REFUSALS, WIRE_REFUSALS, refusal
from app.replica.replica import Replica
from app.replica.scraper import CONTENT_TYPE
from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.server.calls import error_shape, to_procedure_error
from app.rpc.server.gate import Credentials, open_caller
from app.rpc.server.typescript import declaration
from db.errors import DatabaseUnavailable

_SIGN_IN_SECONDS = 2.0
_CACHE_SECONDS = 3600.0
_CACHE_CALLERS = 100


class RouteCallers:
    """Checks the callers of routes, and remembers tokens that were valid within the last hour."""

    def __init__(self, running: Callable[[], Replica]) -> None:
        self._running = running
        self._known: dict[str, tuple[float, Context]] = {}

    async def check(self, request: Request[Any, Any, Any]) -> Replica:
        """Return the replica for a caller that may read. Raises ProcedureError."""
        replica = self._running()
        authorization = request.headers.get("authorization")
        context = await self._open(replica, request, authorization or "")
        replica.gate.allow_page(context, READ, request.scope["path"])
        return replica

    async def _open(self, replica: Replica, request: Request[Any, Any, Any], authorization: str) -> Context:
        path = request.scope["path"]
        known_at, known = self._known.pop(authorization, (0.0, None))
        try:
            async with asyncio.timeout(_SIGN_IN_SECONDS):
                opened: Context = await open_caller(replica.gate, request.scope, Credentials(authorization, path=path))
        except (DatabaseUnavailable, TimeoutError) as error:
            if known is None or time.monotonic() - known_at > _CACHE_SECONDS or _has_expired(known):
                raise refusal("database_unavailable", "the database does not say whose token this is") from error
            opened = known
        else:
            known_at = time.monotonic()
        while len(self._known) >= _CACHE_CALLERS:
            del self._known[next(iter(self._known))]
        self._known[authorization] = known_at, opened
        return opened


def _has_expired(context: Context) -> bool:
    """Return whether a caller's token has expired, by this machine's clock."""
    expires_at = context.caller.expires_at
    return expires_at is not None and expires_at <= datetime.now(UTC)


def routes_of(running: Callable[[], Replica]) -> list[HTTPRouteHandler]:
    """Return the routes; ``running`` returns the replica once it runs."""
    callers = RouteCallers(running)

    @get("/metrics")
    async def prometheus(request: Request[Any, Any, Any]) -> Response[bytes]:
        replica = await callers.check(request)
        text = await replica.scraper.scrape(
            replica.services.db, listening=replica.listener.connected, connections=replica.rpc.connections()
        )
        return Response(text, headers={"content-type": CONTENT_TYPE})

    @get("/trpc/ado.d.ts")
    async def types(request: Request[Any, Any, Any]) -> Response[str]:
        replica = await callers.check(request)
        text = declaration(replica.registry, metadata.version("ado"), (*REFUSALS, *WIRE_REFUSALS))
        return Response(text, media_type="text/plain; charset=utf-8")

    return [prometheus, types]


def no_such_route(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer a request without a route in the wire's envelope, which its clients read."""
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_SUPPORTED"}.get(error.status_code, "BAD_REQUEST")
    hint = "procedures are below /trpc; /healthz, /readyz, /metrics and /trpc/ado.d.ts are fetched with GET"
    return refused(request, ProcedureError(code, error.detail, reason="no_such_page", hint=hint))


def failure_handler(running: Callable[[], Replica]) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    """Return the handler for exceptions of routes; as for calls, only the log has the cause."""

    def failed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        return refused(request, to_procedure_error(running().gate, error, request.scope["path"]))

    return failed


def refused(_request: Request[Any, Any, Any], error: ProcedureError) -> Response[bytes]:
    """Answer a refusal in the wire's envelope."""
    body = envelope.error(error_shape(error, None))
    return Response(body, status_code=error.status, media_type="application/json")
