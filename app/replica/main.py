"""The ASGI application of one API replica: its start, its routes, and its stop.

A replica holds nothing that another one needs. Start: refuse an unknown schema, connect, listen, start the loops.
Stop: report not ready, move sockets to other replicas and answer waiting claims, flush, close. A replica that has
started keeps running while its database is away.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from litestar import Litestar, asgi
from litestar.exceptions import HTTPException

from app.health.readiness import Readiness, healthz, readyz_route
from app.replica.allowed_hosts import HostGuard
from app.replica.file_bodies import BASE
from app.replica.http_routes import failure_handler, no_such_route, refused, routes_of
from app.replica.replica import Replica
from app.replica.web_pages import dashboard_routes
from app.rpc.errors import ProcedureError
from app.settings import AppSettings
from db.database import Database
from db.migrate import check

_log = logging.getLogger("ado.api")


async def _open(settings: AppSettings) -> Database:
    return await Database.open(settings.dsn, size=settings.pool_size, pooled=bool(settings.listen_dsn))


@asynccontextmanager
async def _running(
    app: Litestar, settings: AppSettings, readiness: Readiness, running: list[Replica]
) -> AsyncIterator[None]:
    """Run the replica of an application, and put it into ``running`` once it can serve."""
    await asyncio.to_thread(check, settings.dsn)
    replica = Replica(settings, await _open(settings), readiness)
    running.append(replica)
    replica.start()

    async def drain() -> None:
        readiness.draining = True
        await replica.drain()

    app.state["drain"] = drain
    address = app.state.get("address")
    _log.info("replica started", extra={"pid": os.getpid(), "address": address, "version": version("ado")})
    yield
    await replica.stop()
    _log.info("replica stopped")


def create_app(settings: AppSettings) -> Litestar:
    """Return the ASGI application of one replica. Its start raises SchemaMismatch or DatabaseUnavailable."""
    readiness = Readiness()
    running: list[Replica] = []

    async def serve_rpc(scope: Any, receive: Any, send: Any) -> None:
        await running[0].rpc(scope, receive, send)

    @asgi(BASE, is_mount=True, copy_scope=False)
    async def file_bodies(scope: Any, receive: Any, send: Any) -> None:
        await running[0].file_bodies(scope, receive, send)

    app = Litestar(
        route_handlers=[
            asgi("/trpc", is_mount=True, copy_scope=False)(serve_rpc),
            file_bodies,
            healthz,
            readyz_route(readiness),
            *routes_of(lambda: running[0]),
            *dashboard_routes(),
        ],
        lifespan=[partial(_running, settings=settings, readiness=readiness, running=running)],
        middleware=[partial(HostGuard, settings=settings)],  # type: ignore[list-item]
        exception_handlers={
            ProcedureError: refused,
            HTTPException: no_such_route,
            Exception: failure_handler(lambda: running[0]),
        },
        openapi_config=None,
        logging_config=None,
    )
    app.state["sockets"] = HostGuard(serve_rpc, settings)
    return app
