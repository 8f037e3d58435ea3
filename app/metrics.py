"""The replica's metrics for Prometheus: names by its conventions, and no label whose values a caller can invent.

Counters and histograms are this process's own; gauges of jobs and workers are read from the database at each scrape,
so every replica says the same of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from app.routers.shapes import SpawnerState, WorkerState
from db import health
from db.database import Database
from db.errors import DatabaseError

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
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
DATABASE_UP = Gauge("ado_database_up", "1 when this scrape could read the database.")
JOBS = Gauge("ado_jobs", "Open jobs by status.", ["status"])
WORKERS = Gauge("ado_workers", "Workers by state.", ["state"])
SPAWNERS = Gauge("ado_spawners", "Spawners by state; a silent one has stopped and nobody has succeeded it.", ["state"])
OLDEST_QUEUED = Gauge("ado_oldest_queued_seconds", "How long the oldest queued job has waited.")
OLDEST_TRANSACTION = Gauge("ado_oldest_transaction_seconds", "Age of the oldest transaction in this database.")
OLDEST_SNAPSHOT = Gauge(
    "ado_oldest_snapshot_transactions", "Age of the oldest snapshot in this database, in transactions."
)


async def scrape(db: Database, *, listening: bool, connections: Mapping[str, int]) -> bytes:
    """Return everything in Prometheus' text format; without the database, what this process knows itself."""
    LISTENER_CONNECTED.set(listening)
    for transport, count in connections.items():
        CONNECTIONS.labels(transport).set(count)
    try:
        found = await health.gauges(db)
    except DatabaseError:
        DATABASE_UP.set(0)
    else:
        DATABASE_UP.set(1)
        for status in ("queued", "running"):
            JOBS.labels(status).set(found.jobs.get(status, 0))
        for state in get_args(WorkerState):
            WORKERS.labels(state).set(found.workers.get(state, 0))
        for state in get_args(SpawnerState):
            SPAWNERS.labels(state).set(found.spawners.get(state, 0))
        OLDEST_QUEUED.set(found.oldest_queued_seconds)
        OLDEST_TRANSACTION.set(found.oldest_transaction_seconds)
        OLDEST_SNAPSHOT.set(found.oldest_snapshot_transactions)
    return generate_latest()
