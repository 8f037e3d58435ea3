"""What a user's token may fetch besides procedures: ``/metrics`` and ``/trpc/ado.d.ts``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from app import metrics
from app.auth import READ
from app.reasons import OF_THE_WIRE, REFUSALS
from app.rpc import envelope
from app.rpc.caller import open_caller
from app.rpc.calls import error_shape
from app.rpc.errors import ProcedureError
from app.rpc.gate import Credentials
from app.rpc.typescript import declaration

if TYPE_CHECKING:
    from app.main import Replica


def pages_of(running: Callable[[], Replica]) -> list[HTTPRouteHandler]:
    """Return the routes; they ask for the replica once it runs."""

    async def check(request: Request[Any, Any, Any]) -> Replica:
        replica = running()
        credentials = Credentials(request.headers.get("authorization"), path=request.scope["path"])
        context = await open_caller(replica.gate, request.scope, credentials)
        replica.gate.allow_page(context, READ, request.scope["path"])
        return replica

    @get("/metrics")
    async def prometheus(request: Request[Any, Any, Any]) -> Response[bytes]:
        replica = await check(request)
        text = await replica.scraper.scrape(
            replica.services.db, listening=replica.listener.connected, connections=replica.rpc.connections()
        )
        return Response(text, headers={"content-type": metrics.CONTENT_TYPE})

    @get("/trpc/ado.d.ts")
    async def types(request: Request[Any, Any, Any]) -> Response[str]:
        replica = await check(request)
        text = declaration(replica.registry, metadata.version("ado"), (*REFUSALS, *OF_THE_WIRE))
        return Response(text, media_type="text/plain; charset=utf-8")

    return [prometheus, types]


def unanswered(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer with the wire's envelope what no route answers: its clients read no other page."""
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_SUPPORTED"}.get(error.status_code, "BAD_REQUEST")
    hint = "procedures are below /trpc; /healthz, /readyz, /metrics and /trpc/ado.d.ts are fetched with GET"
    return refused(request, ProcedureError(code, error.detail, reason="no_such_page", hint=hint))


def refused(_request: Request[Any, Any, Any], error: ProcedureError) -> Response[bytes]:
    """Answer a refusal with the wire's envelope."""
    body = envelope.error(error_shape(error, None))
    return Response(body, status_code=error.status, media_type="application/json")
