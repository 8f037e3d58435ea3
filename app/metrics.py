"""The replica's metrics for Prometheus: names by its conventions, and no label whose values a caller can invent.

Counters and histograms of calls and appends are this process's own. Gauges of jobs and workers, and what tasks and
agents have done (``app.counters``), are read from the database, so every replica says the same of them.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from app.counters import AGENTS, REASONS, Counters
from app.routers.shapes import SpawnerState, WorkerState
from app.troubles import TroubleWatch
from db import counters, health
from db.database import Database
from db.errors import DatabaseError, DatabaseFull, DatabaseReadOnly

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WORTH_SECONDS = 2.0
_SIZES_WORTH_SECONDS = 60.0
_READ_SECONDS = 3.0
_EVENTS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
_BYTES = tuple(4.0**power for power in range(3, 13))

CALLS = Counter(
    "ado_calls_total",
    "Calls that ended, by procedure, transport (http, websocket, sse) and code.",
    ["procedure", "transport", "code"],
)
CALL_SECONDS = Histogram("ado_call_seconds", "Duration of queries and mutations.", ["procedure"], buckets=_SECONDS)
CONNECTIONS = Gauge("ado_connections", "Open WebSockets and event streams.", ["transport"])
APPEND_SECONDS = Histogram("ado_append_seconds", "From an append's arrival to its commit.", buckets=_SECONDS)
FLUSH_EVENTS = Histogram(
    "ado_flush_events", "Events in one commit.", buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
)
FLUSH_BYTES = Histogram(
    "ado_flush_bytes", "Bytes of output in one commit.", buckets=tuple(4.0**power for power in range(3, 13))
)
APPEND_WAITING_BYTES = Gauge("ado_append_waiting_bytes", "Bytes of output that wait for the database.")
LEASES_EXPIRED = Counter("ado_leases_expired_total", "Attempts that this replica ended because their lease ran out.")
LISTENER_CONNECTED = Gauge("ado_listener_connected", "1 while the LISTEN connection stands.")
DATABASE_UP = Gauge("ado_database_up", "1 when the database answered this scrape.")
UNREAD = Gauge(
    "ado_metrics_unread", "1 where a part of the metrics could not be read in time; a lock may be why.", ["part"]
)
JOBS = Gauge("ado_jobs", "Open jobs by status.", ["status"])
WORKERS = Gauge("ado_workers", "Workers by state.", ["state"])
SPAWNERS = Gauge("ado_spawners", "Spawners by state; a silent one has stopped and nobody has succeeded it.", ["state"])
OLDEST_QUEUED = Gauge("ado_oldest_queued_seconds", "How long the oldest queued job has waited.")
OLDEST_TRANSACTION = Gauge("ado_oldest_transaction_seconds", "Age of the oldest transaction in this database.")
WRITABLE = Gauge(
    "ado_database_writable", "1 when the database takes writes; 0: read-only, in recovery, or its disk is full."
)
BLOCKERS = Gauge("ado_lock_blockers", "Sessions that hold a lock for which others have waited for two seconds or more.")
BLOCKED = Gauge("ado_lock_blocked_sessions", "Sessions that have waited for such a lock.")
MONITOR_AGE = Gauge("ado_monitor_tick_age_seconds", "Since when no replica has watched over leases.")
DATABASE_BYTES = Gauge("ado_database_bytes", "Size of the database.")
TABLE_BYTES = Gauge("ado_table_bytes", "Size of each table with its indexes; events is the log.", ["table"])
OLDEST_SNAPSHOT = Gauge(
    "ado_oldest_snapshot_transactions", "Age of the oldest snapshot in this database, in transactions."
)


@dataclass(slots=True)
class Scraper:
    """Reads the database for scrapes, at most every few seconds."""

    troubles: TroubleWatch
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _read_at: float = float("-inf")
    _sized_at: float = float("-inf")
    _counted: bytes = b""

    async def scrape(self, db: Database, *, listening: bool, connections: Mapping[str, int]) -> bytes:
        """Return everything in Prometheus' text format; without the database, what this process knows itself."""
        LISTENER_CONNECTED.set(listening)
        for transport, count in connections.items():
            CONNECTIONS.labels(transport).set(count)
        async with self._reading:
            if time.monotonic() - self._read_at > _WORTH_SECONDS:
                await self._read(db)
                self._read_at = time.monotonic()
            return generate_latest() + self._counted

    async def _read(self, db: Database) -> None:
        """Read every part by itself and at the same time: a locked table holds up no part that does not need it."""
        parts: dict[str, Callable[[], Awaitable[object]]] = {
            "locks": lambda: self._read_locks(db),
            "writes": lambda: _read_writable(db),
            "jobs": lambda: _read_jobs(db),
            "workers": lambda: _read_workers(db),
            "spawners": lambda: _read_spawners(db),
            "transactions": lambda: _read_transactions(db),
            "monitor": lambda: _read_monitor(db),
            "counters": lambda: self._read_counters(db),
            "sizes": lambda: self._read_sizes(db),
        }
        missing = dict(zip(parts, await asyncio.gather(*map(_unread, parts.values())), strict=True))
        for part, is_missing in missing.items():
            UNREAD.labels(part).set(is_missing)
        DATABASE_UP.set(not missing["writes"])  # the part that reads no table

    async def _read_locks(self, db: Database) -> None:
        blockers = (await self.troubles.look(db)).blockers
        BLOCKERS.set(math.nan if blockers is None else len(blockers))
        BLOCKED.set(math.nan if blockers is None else sum(blocker.blocked for blocker in blockers))
        if blockers is None:
            raise TimeoutError

    async def _read_counters(self, db: Database) -> None:
        self._counted = b""
        self._counted = generate_latest(Counters(await counters.figures(db, AGENTS, REASONS)))

    async def _read_sizes(self, db: Database) -> None:
        if time.monotonic() - self._sized_at <= _SIZES_WORTH_SECONDS:
            return
        DATABASE_BYTES.set(math.nan)
        TABLE_BYTES.clear()
        total, tables = await health.sizes(db)
        DATABASE_BYTES.set(total)
        for table, size in tables.items():
            TABLE_BYTES.labels(table).set(size)
        self._sized_at = time.monotonic()


async def _unread(read: Callable[[], Awaitable[object]]) -> bool:
    """Read a part; True where that took too long or failed."""
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
    found, oldest = await health.jobs(db)
    for status in ("queued", "running"):
        JOBS.labels(status).set(found.get(status, 0))
    OLDEST_QUEUED.set(oldest)


async def _read_workers(db: Database) -> None:
    WORKERS.clear()
    found = await health.workers(db)
    for state in get_args(WorkerState):
        WORKERS.labels(state).set(found.get(state, 0))


async def _read_spawners(db: Database) -> None:
    SPAWNERS.clear()
    found = await health.spawners(db)
    for state in get_args(SpawnerState):
        SPAWNERS.labels(state).set(found[state])


async def _read_transactions(db: Database) -> None:
    OLDEST_TRANSACTION.set(math.nan)
    OLDEST_SNAPSHOT.set(math.nan)
    seconds, age = await health.oldest_activity(db)
    OLDEST_TRANSACTION.set(seconds)
    OLDEST_SNAPSHOT.set(age)


async def _read_monitor(db: Database) -> None:
    MONITOR_AGE.set(math.nan)
    MONITOR_AGE.set(await health.monitor_age(db))
