"""One API replica: settings, pool, listener, loops and routes put together, and taken apart in order.

A replica holds nothing that another one needs. Start: refuse a schema it does not know, connect, listen, then the
loops. Stop: say not ready, let sockets move to other replicas and parked claims answer, flush, then close. Once it has
started, a replica outlives its database.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from litestar import Litestar, asgi
from litestar.exceptions import HTTPException

from app.auth import TokenGate
from app.context import Services
from app.control import janitor, monitor
from app.control.endings import Endings
from app.control.loop import every, for_ever
from app.control.parking import Parking
from app.control.tell import CommandPoll
from app.environment_cipher import EnvironmentCipher
from app.health import Readiness, healthz, readyz_of
from app.hosts import HostGuard
from app.limits import wire_limits
from app.log.appender import Appender
from app.log.feed import Feeds
from app.log.hub import Hub
from app.log.tail import Tail
from app.metrics import Scraper
from app.pages import failed_by, pages_of, refused, unanswered
from app.refusals import Refusals
from app.routers.table import registry
from app.rpc.application import RpcApplication
from app.rpc.errors import ProcedureError
from app.settings import AppSettings
from db import tasks
from db.database import Database
from db.group import Group
from db.listener import Listener
from db.migrate import check

_log = logging.getLogger("ado.api")
_JANITOR_SECONDS = 10.0
_USED_TOKENS_SECONDS = 10.0
_CREATIONS = 100  # tasks stored in one commit


class Replica:
    """The parts of a running replica."""

    def __init__(self, settings: AppSettings, db: Database, readiness: Readiness) -> None:
        hub = Hub()
        feeds = Feeds(
            db,
            hub,
            poll_seconds=settings.poll_seconds,
            feed_bytes=settings.feed_bytes,
            page_bytes=settings.page_bytes,
        )
        appender = Appender(
            db,
            lanes=settings.flush_lanes,
            lease_seconds=settings.lease_seconds,
            byte_limit=settings.append_bytes,
            output_limit=settings.output_bytes,
        )
        parking = Parking(db, hub, poll_seconds=settings.poll_seconds)
        tail = Tail(db, feeds, retry_seconds=settings.poll_seconds)
        self.settings = settings
        creations = Group(partial(tasks.create_all, db), items=_CREATIONS, size=settings.body_bytes)
        cipher = EnvironmentCipher(settings.data_key)
        commands = CommandPoll(db, hub)
        self.services = Services(
            settings,
            db,
            hub,
            feeds,
            tail,
            appender,
            creations,
            Endings(db),
            parking,
            cipher,
            commands,
            readiness,
            Refusals(db),
        )
        self.scraper = Scraper(readiness.troubles)
        self.registry = registry()
        self.gate = TokenGate(self.services, self.registry)
        self.rpc = RpcApplication(self.registry, self.gate, wire_limits(settings), base="/trpc")
        self.listener = Listener(settings.listen_dsn or settings.dsn, hub.hear, hub.wake_all)
        self._tasks: list[asyncio.Task[Any]] = []
        readiness.db, readiness.listener, readiness.hub = db, self.listener, hub

    def start(self) -> None:
        """Start the loops."""
        db, settings = self.services.db, self.settings
        loops: dict[str, Callable[[], Awaitable[object]]] = {
            "listener": self.listener.run,
            "parking": partial(every, 0.0, self.services.parking.watch, name="parking"),
            "monitor": partial(every, settings.monitor_seconds, partial(monitor.step, db, settings), name="monitor"),
            "tell": partial(every, settings.poll_seconds, self.services.command_poll.step, name="tell"),
            "move": partial(every, settings.away_seconds / 2, self._move, name="move"),
            "refusals": self.services.refusals.run,
            "used tokens": partial(every, _USED_TOKENS_SECONDS, self.gate.mark_used, name="used tokens"),
            "janitor": partial(every, _JANITOR_SECONDS, partial(janitor.step, db, settings), name="janitor"),
        }
        for name, run in loops.items():
            self._tasks.append(asyncio.create_task(for_ever(run, name=name), name=name))

    async def _move(self) -> None:
        """While the database does not answer this replica, let the clients find out whether it answers another one."""
        silent = time.monotonic() - self.services.db.answered_at
        if silent > self.settings.away_seconds:
            _log.warning("the database does not answer", extra={"seconds": round(silent, 1)})
            await self.rpc.move(self.settings.away_seconds / 2)

    async def drain(self) -> None:
        """Let the clients move on to other replicas."""
        self.services.parking.close()
        await self.rpc.drain(self.settings.drain_seconds)

    async def stop(self) -> None:
        """End the loops and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.services.refusals.flush()
        await self.services.feeds.close()
        for writing in (self.services.appender, self.services.creations, self.services.endings):
            await writing.close()
        await self.services.db.close()


async def _open(settings: AppSettings) -> Database:
    return await Database.open(settings.dsn, size=settings.pool_size, pooled=bool(settings.listen_dsn))


def create_app(settings: AppSettings) -> Litestar:
    """Return the ASGI application of one replica. Its start raises SchemaMismatch or DatabaseUnavailable."""
    readiness = Readiness()
    running: list[Replica] = []

    @asgi("/trpc", is_mount=True, copy_scope=False)
    async def trpc(scope: Any, receive: Any, send: Any) -> None:
        await running[0].rpc(scope, receive, send)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        await asyncio.to_thread(check, settings.dsn)
        replica = Replica(settings, await _open(settings), readiness)
        running.append(replica)
        replica.start()

        async def drain() -> None:
            readiness.draining = True
            await replica.drain()

        app.state["drain"] = drain
        _log.info("replica started", extra={"pid": os.getpid()})
        yield
        await replica.stop()
        _log.info("replica stopped")

    return Litestar(
        route_handlers=[trpc, healthz, readyz_of(readiness), *pages_of(lambda: running[0])],
        lifespan=[lifespan],
        middleware=[partial(HostGuard, settings=settings)],  # type: ignore[list-item]
        exception_handlers={
            ProcedureError: refused,
            HTTPException: unanswered,
            Exception: failed_by(lambda: running[0]),
        },
        openapi_config=None,
        logging_config=None,
    )
