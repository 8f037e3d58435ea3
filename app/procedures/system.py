"""The procedures ``system.*``: what is wrong with this replica, what its database costs, how far clocks are apart."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from statistics import median

from msgspec import UNSET, UnsetType

from app.access.auth import OPERATE, READ
from app.access.context import Context
from app.rpc.server.procedure import mutation, query
from app.shapes.records import Wire
from db import health as probes
from db import workers

_ROUNDS = 9
_HEAR_SECONDS = 1.0


class Blocker(Wire):
    """A database session that holds a lock for which others have waited for two seconds or more."""

    pid: int
    """0: a prepared transaction."""
    blocked: int
    """How many sessions wait for it."""
    waiting_since: datetime
    role: str | UnsetType = UNSET
    application: str | UnsetType = UNSET
    state: str | UnsetType = UNSET
    transaction_at: datetime | UnsetType = UNSET
    """When its transaction began; absent where the owner of the schema may not see it."""


class Health(Wire, omit_defaults=False):
    """What ``/readyz`` says of the replica that answers, and who holds the queue up."""

    problems: dict[str, str]
    """By part (process, database, schema, listener); empty when it is ready."""
    warnings: dict[str, str]
    """By part (spawner, locks), what makes no replica unready."""
    blockers: list[Blocker]


@query(access=READ)
async def health(context: Context) -> Health:
    """Say what is wrong with the replica and with its database; asks for no table that may be locked."""
    readiness = context.services.readiness
    report = await readiness.report()
    troubles = await readiness.troubles.look(context.db)
    blockers = [Blocker.from_record(blocker) for blocker in troubles.blockers or ()]
    return Health(problems=report.problems, warnings=report.warnings, blockers=blockers)


class MeasureInput(Wire):
    """The worker whose clock is asked for."""

    worker_id: str | None = None


class Measured(Wire):
    """Medians in milliseconds; clocks as what must be added to theirs to get the database's."""

    commit_ms: float
    """A durable commit of a few bytes."""
    flush_ms: float
    """What of that the disk takes: less for a commit that need not be durable."""
    replica_behind_ms: float
    time: datetime
    """The replica's, when it answered."""
    notify_ms: float | UnsetType = UNSET
    """From a notification to this replica's own listener; absent: none arrived."""
    worker_behind_ms: float | UnsetType = UNSET
    """By the worker's last heartbeat, so at most a heartbeat's way too much."""


@mutation(access=OPERATE)
async def measure(context: Context, input: MeasureInput) -> Measured:
    """Measure the database from here; it takes some small commits, and leaves nothing behind."""
    durable, quick, heard, behind = [], [], [], []
    for _ in range(_ROUNDS):
        durable.append(await _commit(context, durable=True))
        quick.append(await _commit(context, durable=False))
        took, late = await _notify(context)
        behind.append(late)
        heard.append(took)
    arrived = [took for took in heard if took is not None]
    skew = await workers.clock_skew(context.db, input.worker_id) if input.worker_id else None
    return Measured(
        commit_ms=median(durable),
        flush_ms=max(0.0, median(durable) - median(quick)),
        replica_behind_ms=median(behind),
        time=datetime.now(UTC),
        notify_ms=median(arrived) if arrived else UNSET,
        worker_behind_ms=UNSET if skew is None else skew * 1000,
    )


async def _commit(context: Context, *, durable: bool) -> float:
    began = time.perf_counter()
    await probes.commit_something(context.db, durable=durable)
    return (time.perf_counter() - began) * 1000


async def _notify(context: Context) -> tuple[float | None, float]:
    """Return how long a notification took, if it came, and how far this clock is behind the database's."""
    name = secrets.token_hex(8)
    with context.services.hub.waiting(("h", name)) as hint:
        began, before = time.perf_counter(), time.time()
        theirs = await probes.probe(context.db, f"h:{name}")
        answered = time.time()
        came = await hint.wait(_HEAR_SECONDS)
        took = (time.perf_counter() - began) * 1000
    return took if came else None, (theirs.timestamp() - (before + answered) / 2) * 1000
