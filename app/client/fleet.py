"""What ``workers_status`` says beside the workers: spawners, the ranges of workers, and agents whose jobs wait."""

from __future__ import annotations

from app.client.records import Number, Record, Time


class Spawner(Record, frozen=True, kw_only=True):
    """A process that starts workers."""

    spawner_id: str
    state: str
    backend: str = ""
    host: str = ""
    capabilities: list[str]
    max_workers: Number = 0
    started_at: Time | None = None
    last_heartbeat_at: Time
    problem: str | None = None


class UnhealthyAgent(Record, frozen=True, kw_only=True):
    """An agent whose jobs wait, because its last attempts failed before it did anything; ``why`` says it in words."""

    agent: str
    failures: Number
    reason: str
    since: Time
    failed_at: Time
    probe_after: Time
    is_probing: bool
    why: str
    job_id: str | None = None


class Autoscale(Record, frozen=True, kw_only=True):
    """Within which limits spawners keep workers of a capability (None: all workers), and how many there are."""

    capability: str | None = None
    min: Number
    max: Number
    target_queue: Number
    cooldown_seconds: float
    workers: Number
