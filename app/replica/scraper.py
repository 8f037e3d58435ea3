"""The content of ``/metrics``: the metrics of this process, and those that the database has of all replicas."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.health.external_problems import ExternalProblemWatch
from app.metrics.installation import AGENTS, REASONS, Counters
from app.metrics.instruments import (
    AUTOSCALE,
    BLOCKED,
    BLOCKERS,
    CONNECTIONS,
    DATABASE_BYTES,
    DATABASE_UP,
    JOBS,
    LISTENER_CONNECTED,
    MONITOR_AGE,
    OLDEST_QUEUED,
    OLDEST_SNAPSHOT,
    OLDEST_TRANSACTION,
    SPAWNERS,
    TABLE_BYTES,
    UNHEALTHY_AGENTS,
    UNREAD,
    WORKERS,
    WRITABLE,
)
from app.shapes.records import SpawnerState, WorkerState
from db import agents, autoscale, counters, health, workers
from db.database import Database
from db.errors import DatabaseError, DatabaseFull, DatabaseReadOnly

CONTENT_TYPE = CONTENT_TYPE_LATEST
_CACHE_SECONDS = 2.0
_SIZES_CACHE_SECONDS = 60.0
_READ_SECONDS = 3.0


@dataclass(slots=True)
class Scraper:
    """Reads the database for scrapes, at most every few seconds."""

    external_problems: ExternalProblemWatch
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _read_at: float = float("-inf")
    _sized_at: float = float("-inf")
    _counted: bytes = b""

    async def scrape(self, db: Database, *, listening: bool, connections: Mapping[str, int]) -> bytes:
        """Return all metrics in Prometheus' text format; without the database, those of this process."""
        LISTENER_CONNECTED.set(listening)
        for transport, count in connections.items():
            CONNECTIONS.labels(transport).set(count)
        async with self._reading:
            if time.monotonic() - self._read_at > _CACHE_SECONDS:
                await self._read(db)
                self._read_at = time.monotonic()
            return generate_latest() + self._counted

    async def _read(self, db: Database) -> None:
        """Read all parts at the same time, so that a locked table delays only the parts that need it."""
        parts: dict[str, Callable[[], Awaitable[object]]] = {
            "locks": lambda: self._read_locks(db),
            "writes": lambda: _read_writable(db),
            "jobs": lambda: _read_jobs(db),
            "workers": lambda: _read_workers(db),
            "spawners": lambda: _read_spawners(db),
            "autoscale": lambda: _read_autoscale(db),
            "agents": lambda: _read_agents(db),
            "transactions": lambda: _read_transactions(db),
            "monitor": lambda: _read_monitor(db),
            "counters": lambda: self._read_counters(db),
            "sizes": lambda: self._read_sizes(db),
        }
        missing = dict(zip(parts, await asyncio.gather(*map(_unread, parts.values())), strict=True))
        for part, is_missing in missing.items():
            UNREAD.labels(part).set(is_missing)
        DATABASE_UP.set(not missing["writes"])  # this part reads no table, so no lock delays it

    async def _read_locks(self, db: Database) -> None:
        blockers = (await self.external_problems.report(db)).blockers
        BLOCKERS.set(math.nan if blockers is None else len(blockers))
        BLOCKED.set(math.nan if blockers is None else sum(blocker.blocked for blocker in blockers))
        if blockers is None:
            raise TimeoutError

    async def _read_counters(self, db: Database) -> None:
        self._counted = b""
        self._counted = generate_latest(Counters(await counters.figures(db, AGENTS, REASONS)))

    async def _read_sizes(self, db: Database) -> None:
        if time.monotonic() - self._sized_at <= _SIZES_CACHE_SECONDS:
            return
        DATABASE_BYTES.set(math.nan)
        TABLE_BYTES.clear()
        total, tables = await health.sizes(db)
        DATABASE_BYTES.set(total)
        for table, size in tables.items():
            TABLE_BYTES.labels(table).set(size)
        self._sized_at = time.monotonic()


async def _unread(read: Callable[[], Awaitable[object]]) -> bool:
    """Read a part; return True when that failed or took too long."""
    try:
        async with asyncio.timeout(_READ_SECONDS):
            await read()
    except (DatabaseError, TimeoutError):
        return True
    return False


async def _read_writable(db: Database) -> None:
    WRITABLE.set(math.nan)
    try:
        await health.check_writes(db)
    except (DatabaseReadOnly, DatabaseFull):
        WRITABLE.set(0)
    else:
        WRITABLE.set(1)


async def _read_jobs(db: Database) -> None:
    JOBS.clear()
    OLDEST_QUEUED.set(math.nan)
    counts, oldest = await health.jobs(db)
    for status, count in counts.items():
        JOBS.labels(status).set(count)
    OLDEST_QUEUED.set(oldest)


async def _read_workers(db: Database) -> None:
    WORKERS.clear()
    counts = await workers.counts(db)
    for state in get_args(WorkerState):
        WORKERS.labels(state).set(counts.get(state, 0))


async def _read_spawners(db: Database) -> None:
    SPAWNERS.clear()
    counts = await health.spawners(db)
    for state in get_args(SpawnerState):
        SPAWNERS.labels(state).set(counts[state])


async def _read_autoscale(db: Database) -> None:
    AUTOSCALE.clear()
    for one in await autoscale.ranges(db):
        figures = {"current": one.workers, "minimum": one.minimum, "maximum": one.maximum}
        for bound, count in figures.items():
            AUTOSCALE.labels(one.capability or "any", bound).set(count)


async def _read_agents(db: Database) -> None:
    UNHEALTHY_AGENTS.clear()
    ill = {one.agent if one.agent in AGENTS else "other" for one in await agents.unhealthy(db)}
    for agent in (*AGENTS[1:], "other"):
        UNHEALTHY_AGENTS.labels(agent).set(agent in ill)


async def _read_transactions(db: Database) -> None:
    OLDEST_TRANSACTION.set(math.nan)
    OLDEST_SNAPSHOT.set(math.nan)
    seconds, age = await health.oldest_activity(db)
    OLDEST_TRANSACTION.set(seconds)
    OLDEST_SNAPSHOT.set(age)


async def _read_monitor(db: Database) -> None:
    MONITOR_AGE.set(math.nan)
    MONITOR_AGE.set(await health.monitor_age(db))
