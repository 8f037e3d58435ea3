"""Typed functions over ``sql/queries/workers.sql``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from db.actor import Actor, parameter
from db.database import Database
from db.model import AttemptKey, JobCommand, ResourceAmounts, parameters_of, record_of
from db.paging import ALL, PageLimit, more


@dataclass(frozen=True, slots=True)
class Registration:
    """A worker's description of itself."""

    worker_id: str
    instance: str
    capabilities: Sequence[str]
    resources: ResourceAmounts
    labels: Mapping[str, str]
    slots: int
    version: str | None = None
    pid: int | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker with its derived state and what it holds."""

    worker_id: str
    state: str
    capabilities: Sequence[str]
    resources: ResourceAmounts
    free: ResourceAmounts
    slots: int
    labels: Mapping[str, str]
    version: str | None
    pid: int | None
    host: str | None
    backend: str | None
    started_at: datetime | None
    last_heartbeat_at: datetime | None
    problem: str | None
    """Why it takes no jobs, as its last heartbeat said; None while it does."""
    jobs: tuple[AttemptKey, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any], jobs: Sequence[AttemptKey] = ()) -> WorkerRow:
        """Make one from a row of ``list_workers``."""
        labels = row["labels"]
        return record_of(
            cls,
            row,
            resources=ResourceAmounts(row["cpu"], row["memory"], row["gpu"]),
            free=ResourceAmounts(row["free_cpu"], row["free_memory"], row["free_gpu"]),
            labels=orjson.loads(labels) if isinstance(labels, str) else labels,
            jobs=tuple(jobs),
        )


@dataclass(frozen=True, slots=True)
class SpawnerRow:
    """A spawner by its heartbeats; ``problem`` keeps it from starting workers."""

    spawner_id: str
    state: str
    backend: str
    host: str
    capabilities: Sequence[str]
    max_workers: int
    started_at: datetime
    last_heartbeat_at: datetime
    problem: str | None


@dataclass(frozen=True, slots=True)
class RegisteredWorker:
    """A worker as its calls are checked: its session, its claim number, and whether it may get work."""

    worker_id: str
    session: str | None
    claims: int
    draining: bool
    fresh: bool
    capabilities: frozenset[str]
    bound: bool
    """Whether it may claim only the one job of its pod."""
    version: str | None
    """Its release."""


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A running job of a worker, at a heartbeat."""

    key: AttemptKey
    command: JobCommand | None
    missed_heartbeats: int
    listed: bool


@dataclass(frozen=True, slots=True)
class Renewal:
    """The result of a heartbeat: whether the worker drains, and the jobs that it holds."""

    draining: bool
    held: tuple[HeldJob, ...]


async def register(
    db: Database, worker: Registration, session: str, actor: Actor | None = None, token_id: str | None = None
) -> tuple[str, bool] | None:
    """Register a process; return its session and whether it replaced an older process of the same id.

    None: the token that it used belongs to another process.
    """
    row = await db.optional(
        "register_worker",
        worker_id=worker.worker_id,
        instance=worker.instance,
        session=session,
        capabilities=sorted(set(worker.capabilities)),
        **parameters_of(worker.resources),
        labels=orjson.dumps(dict(worker.labels)).decode(),
        slots=worker.slots,
        version=worker.version,
        pid=worker.pid,
        host=worker.host,
        actor=parameter(actor),
        token_id=token_id,
    )
    return (row["session"], row["replaced"]) if row else None


async def registered(db: Database, worker_id: str) -> RegisteredWorker | None:
    """Return a worker as its calls are checked; None for one that never registered."""
    row = await db.optional("get_worker", worker_id=worker_id)
    if row is None or row["session"] is None:
        return None
    return record_of(
        RegisteredWorker,
        row,
        draining=row["draining"] or row["stopped_at"] is not None,
        fresh=bool(row["fresh"]),
        capabilities=frozenset(row["capabilities"]),
    )


async def heartbeat(
    db: Database,
    *,
    worker_id: str,
    session: str,
    listed: Sequence[AttemptKey],
    load: Any,
    at: datetime | None,
    stopped: bool,
    lease_seconds: float,
) -> Renewal | None:
    """Renew the listed jobs; None when the worker or its session is not the registered one."""
    rows = await db.many(
        "heartbeat",
        worker_id=worker_id,
        session=session,
        load=None if load is None else orjson.dumps(load).decode(),
        at=at,
        stopped=stopped,
        task_ids=[key[0] for key in listed],
        jobs=[key[1] for key in listed],
        attempts=[key[2] for key in listed],
        lease_seconds=lease_seconds,
    )
    if not rows:
        return None
    held = tuple(
        record_of(HeldJob, row, key=(row["task_id"], row["job"], row["attempt"]), listed=row["is_listed"])
        for row in rows
        if row["task_id"] is not None
    )
    return Renewal(any(row["draining"] for row in rows), held)


async def drain(db: Database, worker_id: str, actor: Actor | None = None) -> bool:
    """Mark a worker so that it gets no new jobs; False for an unknown one."""
    return await db.optional("drain_worker", worker_id=worker_id, actor=parameter(actor)) is not None


async def all_held(db: Database, worker_ids: Sequence[str] | None = None) -> dict[str, frozenset[AttemptKey]]:
    """Return the running attempts by worker, of some workers or of all."""
    held: defaultdict[str, list[AttemptKey]] = defaultdict(list)
    for row in await db.many("list_held_jobs", worker_ids=worker_ids):
        held[row["worker_id"]].append((row["task_id"], row["job"], row["attempt"]))
    return {worker_id: frozenset(keys) for worker_id, keys in held.items()}


async def open_commands(db: Database, gone: Sequence[tuple[str, AttemptKey]]) -> set[tuple[str, str]]:
    """Return the open commands as pairs of a worker and a name, also that it lost one of the attempts in ``gone``."""
    rows = await db.many(
        "open_commands",
        worker_ids=[worker_id for worker_id, _ in gone],
        task_ids=[key[0] for _, key in gone],
        jobs=[key[1] for _, key in gone],
        attempts=[key[2] for _, key in gone],
    )
    return {(row["worker_id"], row["command"]) for row in rows}


async def listing(db: Database, stopped_within: float | None = None) -> list[WorkerRow]:
    """Return all workers with what they hold; of the stopped ones those that stopped within so many seconds."""
    return (await page(db, stopped_within=stopped_within))[0]


async def page(
    db: Database,
    state: str | None = None,
    after: str | None = None,
    room: PageLimit = ALL,
    *,
    stopped_within: float | None = None,
) -> tuple[list[WorkerRow], bool]:
    """Return workers with what they hold by id, after an id, and whether there are more.

    ``stopped_within``: of the stopped ones only those that stopped within so many seconds; None: all.
    """
    rows = await db.many(
        "list_workers",
        state=state,
        after=after,
        row_limit=room.rows,
        byte_limit=room.bytes,
        stopped_within=stopped_within,
    )
    held = await all_held(db, [row["worker_id"] for row in rows])
    return [WorkerRow.of(row, sorted(held.get(row["worker_id"], ()))) for row in rows], more(rows)


async def get(db: Database, worker_id: str) -> WorkerRow | None:
    """Return one worker with what it holds."""
    row = await db.optional("show_worker", worker_id=worker_id)
    return WorkerRow.of(row, sorted((await all_held(db, [worker_id])).get(worker_id, ()))) if row else None


async def counts(db: Database) -> dict[str, int]:
    """Return how many workers are in which state."""
    return {row["state"]: row["count"] for row in await db.many("count_workers")}


async def spawners(db: Database) -> list[SpawnerRow]:
    """Return the spawners that run, and silent ones that nobody has succeeded."""
    return [SpawnerRow(**row) for row in await db.many("list_spawners")]


async def scale(db: Database, capabilities: Sequence[str], count: int, actor: Actor | None = None) -> int:
    """Set how many workers of these capabilities are kept when idle."""
    wanted = sorted(set(capabilities))
    row = await db.one("scale_workers", capabilities=wanted, count=count, actor=parameter(actor))
    return int(row["count"])


async def monitor_tick(
    db: Database, *, heartbeat: float, suspect: float, lease: float, losses: int, attempts: int, agent_breaker: int = 5
) -> float:
    """Record a monitor tick, moving leases over a gap longer than ``suspect``; return the gap in seconds."""
    row = await db.one(
        "monitor_tick",
        heartbeat_seconds=heartbeat,
        suspect_seconds=suspect,
        lease_seconds=lease,
        losses=losses,
        attempts=attempts,
        agent_breaker=agent_breaker,
    )
    return float(row["gap"])


async def prune(db: Database, keep_seconds: float) -> int:
    """Delete workers that ended longer ago than ``keep_seconds``; return how many."""
    return len(await db.many("prune_workers", keep_seconds=keep_seconds))


async def prune_pods(db: Database, keep_seconds: float) -> int:
    """Delete pods that ended longer ago than ``keep_seconds``; return how many."""
    return len(await db.many("prune_pods", keep_seconds=keep_seconds))


async def clock_skew(db: Database, worker_id: str) -> float | None:
    """Return how many seconds a worker's clock is behind the database's, by its last heartbeat."""
    row = await db.optional("worker_clock", worker_id=worker_id)
    return float(row["clock_skew_seconds"]) if row else None
