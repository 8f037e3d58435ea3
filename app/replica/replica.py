"""The parts of one API replica: services, procedures and loops, and the order of its start and stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from app.access.auth import TokenGate
from app.access.context import Services
from app.access.refused_calls import RefusedCallWriter
from app.access.sign_ins import FailedSignIns
from app.core.environment_cipher import EnvironmentCipher
from app.health.readiness import Readiness
from app.log.appender import Appender
from app.log.feed import Feeds
from app.log.hub import Hub
from app.log.tail import Tail
from app.loops import janitor, monitor
from app.loops.claim_waiters import ClaimWaiters
from app.loops.command_poll import CommandPoll
from app.loops.finish_batcher import FinishBatcher
from app.loops.loop import every, for_ever
from app.loops.notification_sender import NotificationSender
from app.loops.scheduler import Scheduler
from app.procedures.table import registry
from app.procedures.templates import task_of
from app.replica.connection_limits import wire_limits
from app.replica.file_bodies import FileBodies
from app.replica.scraper import Scraper
from app.rpc.server.application import RpcApplication
from app.settings import AppSettings
from db import tasks
from db.database import Database
from db.group_commit import GroupCommit
from db.listener import Listener

_log = logging.getLogger("ado.api")
_READINESS_SECONDS = 5.0  # logs a change although no load balancer asks for it
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
        claim_waiters = ClaimWaiters(db, hub, poll_seconds=settings.poll_seconds)
        tail = Tail(db, feeds, retry_seconds=settings.poll_seconds)
        self.settings = settings
        creations = GroupCommit(partial(tasks.create_all, db), max_items=_CREATIONS, max_size=settings.body_bytes)
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
            FinishBatcher(db),
            claim_waiters,
            cipher,
            commands,
            readiness,
            RefusedCallWriter(db),
            NotificationSender(db, cipher, settings.notify_hosts),
            FailedSignIns(settings.failed_sign_ins),
        )
        prepare = partial(task_of, settings, cipher)
        self.scheduler = Scheduler(db, creations, prepare, poll_seconds=settings.poll_seconds)
        self.scraper = Scraper(readiness.external_problems)
        self.registry = registry()
        self.gate = TokenGate(self.services, self.registry)
        limits = wire_limits(settings)
        self.rpc = RpcApplication(self.registry, self.gate, limits, base="/trpc")
        self.file_bodies = FileBodies(self.registry, self.gate, limits)
        self.listener = Listener(settings.listen_dsn or settings.dsn, hub.receive, hub.wake_all, feeds.receive)
        self._tasks: list[asyncio.Task[Any]] = []
        readiness.db, readiness.listener, readiness.hub = db, self.listener, hub

    def start(self) -> None:
        """Start the loops."""
        db, settings = self.services.db, self.settings
        loops: dict[str, Callable[[], Awaitable[object]]] = {
            "listener": self.listener.run,
            "claim waiters": partial(every, 0.0, self.services.claim_waiters.watch, name="claim waiters"),
            "monitor": partial(every, settings.monitor_seconds, partial(monitor.step, db, settings), name="monitor"),
            "commands": partial(every, settings.poll_seconds, self.services.command_poll.step, name="commands"),
            "notifications": partial(
                every, settings.poll_seconds, self.services.notification_sender.step, name="notifications"
            ),
            "schedules": partial(every, 0.0, self.scheduler.watch, name="schedules"),
            "move": partial(every, settings.away_seconds / 2, self._move, name="move"),
            "refusals": self.services.refusals.run,
            "used tokens": partial(every, _USED_TOKENS_SECONDS, self.gate.mark_used, name="used tokens"),
            "readiness": partial(every, _READINESS_SECONDS, self.services.readiness.report, name="readiness"),
            "janitor": partial(every, _JANITOR_SECONDS, partial(janitor.step, db, settings), name="janitor"),
        }
        for name, run in loops.items():
            self._tasks.append(asyncio.create_task(for_ever(run, name=name), name=name))

    async def _move(self) -> None:
        """Move the clients to other replicas while the database does not answer this one."""
        silent = time.monotonic() - self.services.db.answered_at
        if silent > self.settings.away_seconds:
            _log.warning("the database does not answer", extra={"seconds": round(silent, 1)})
            await self.rpc.move(self.settings.away_seconds / 2)

    async def drain(self) -> None:
        """Let the clients move on to other replicas."""
        self.services.claim_waiters.close()
        await self.rpc.drain(self.settings.drain_seconds)

    async def stop(self) -> None:
        """End the loops and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.services.notification_sender.close()
        await self.services.refusals.flush()
        await self.services.feeds.close()
        for writing in (self.services.appender, self.services.creations, self.services.finish_batcher):
            await writing.close()
        await self.services.db.close()
