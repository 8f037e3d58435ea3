"""The replica's metrics for Prometheus. No label takes values that a caller can invent, but for ranges: operators name
at most 100 capabilities.

Counters and histograms of calls and appends belong to this process. Gauges of jobs and workers, and the counters in
``app.metrics.installation``, are read from the database, so they are the same on every replica.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_EVENTS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
_BYTES = tuple(4.0**power for power in range(3, 13))  # 64 B to 16 MiB

CALLS = Counter(
    "ado_calls_total",
    "Calls that ended, by procedure, transport (http, websocket, sse) and code.",
    ["procedure", "transport", "code"],
)
CALL_SECONDS = Histogram("ado_call_seconds", "Duration of queries and mutations.", ["procedure"], buckets=_SECONDS)
CONNECTIONS = Gauge("ado_connections", "Open WebSockets and event streams.", ["transport"])
APPEND_SECONDS = Histogram("ado_append_seconds", "From an append's arrival to its commit.", buckets=_SECONDS)
FLUSH_EVENTS = Histogram("ado_flush_events", "Events in one commit.", buckets=_EVENTS)
FLUSH_BYTES = Histogram("ado_flush_bytes", "Bytes of output in one commit.", buckets=_BYTES)
APPEND_WAITING_BYTES = Gauge("ado_append_waiting_bytes", "Bytes of output that wait for the database.")
LEASES_EXPIRED = Counter("ado_leases_expired_total", "Attempts that this replica ended because their lease ran out.")
SCHEDULE_TIMES_MISSED = Counter(
    "ado_schedule_times_missed_total", "Times of schedules that did not run, because no replica could run them in time."
)
LISTENER_CONNECTED = Gauge("ado_listener_connected", "1 while the LISTEN connection stands.")
DATABASE_UP = Gauge("ado_database_up", "1 when the database answered this scrape.")
UNREAD = Gauge(
    "ado_metrics_unread", "1 where a part of the metrics could not be read in time; a lock may be why.", ["part"]
)
JOBS = Gauge("ado_jobs", "Open jobs by status; above 10,000, queued and paused ones are minutes old.", ["status"])
WORKERS = Gauge("ado_workers", "Workers by state.", ["state"])
SPAWNERS = Gauge("ado_spawners", "Spawners by state; a silent one has stopped and nobody has succeeded it.", ["state"])
AUTOSCALE = Gauge(
    "ado_autoscale_workers",
    "Workers of each range of ado workers autoscale: there now, the minimum and the maximum. At most 100 ranges.",
    ["capability", "bound"],
)
UNHEALTHY_AGENTS = Gauge("ado_agent_unhealthy", "1 for each agent whose jobs wait because it fails.", ["agent"])
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
