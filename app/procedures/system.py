"""The procedures ``system.*``: problems of this replica, times of its database, differences of clocks."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from statistics import median

from msgspec import UNSET, UnsetType

from app.access.auth import OPERATE, READ
from app.access.context import Context
from app.client import administration
from app.rpc.server.procedure import mutation, query
from app.shapes.records import RecordShape, Wire
from db import health as probes
from db import workers

_ROUNDS = 9
_NOTIFY_SECONDS = 1.0


class Blocker(administration.Blocker, RecordShape, frozen=True, kw_only=True):
    """A database session that holds a lock for which others have waited for two seconds or more.

    ``pid`` is 0 for a prepared transaction. ``transaction_at`` is absent where the owner of the schema may not see it.
    """


class Health(Wire, omit_defaults=False):
    """What ``/readyz`` says of the answering replica, and the sessions that block others."""

    problems: dict[str, str]
    """By part (process, database, schema, listener); empty when it is ready."""
    warnings: dict[str, str]
    """By part (spawner, locks); they make no replica unready."""
    blockers: list[Blocker]


@query(access=READ)
async def health(context: Context) -> Health:
    """Return the problems of the replica and its database. It reads no table that may be locked."""
    readiness = context.services.readiness
    report = await readiness.report()
    external_problems = await readiness.external_problems.report(context.db)
    blockers = [Blocker.from_record(blocker) for blocker in external_problems.blockers or ()]
    return Health(problems=report.problems, warnings=report.warnings, blockers=blockers)


class MeasureInput(Wire):
    """The worker whose clock to compare."""

    worker_id: str | None = None


class Measured(Wire):
    """Medians in milliseconds. Add ``…BehindMs`` to a clock to get the database's time."""

    commit_ms: float
    """A durable commit of a few bytes."""
    flush_ms: float
    """The part of it that the disk takes: how much faster a commit is that need not be durable."""
    replica_behind_ms: float
    time: datetime
    """The replica's time when it answered."""
    notify_ms: float | UnsetType = UNSET
    """From sending a notification to receiving it on this replica; absent when none arrived."""
    worker_behind_ms: float | UnsetType = UNSET
    """Measured by the last heartbeat, so it includes the time that the heartbeat took to arrive."""


@mutation(access=OPERATE)
async def measure(context: Context, input: MeasureInput) -> Measured:
    """Measure the database from this replica by some small commits, which leave nothing behind."""
    durable, lazy, notified, behind = [], [], [], []
    for _ in range(_ROUNDS):
        durable.append(await _commit(context, durable=True))
        lazy.append(await _commit(context, durable=False))
        took, clock_behind = await _notify(context)
        behind.append(clock_behind)
        if took is not None:
            notified.append(took)
    skew = await workers.clock_skew(context.db, input.worker_id) if input.worker_id else None
    return Measured(
        commit_ms=median(durable),
        flush_ms=max(0.0, median(durable) - median(lazy)),
        replica_behind_ms=median(behind),
        time=datetime.now(UTC),
        notify_ms=median(notified) if notified else UNSET,
        worker_behind_ms=UNSET if skew is None else skew * 1000,
    )


async def _commit(context: Context, *, durable: bool) -> float:
    began = time.perf_counter()
    await probes.commit_something(context.db, durable=durable)
    return (time.perf_counter() - began) * 1000


async def _notify(context: Context) -> tuple[float | None, float]:
    """Return how many ms a notification took (None: it did not arrive), and how many this clock is behind."""
    name = secrets.token_hex(8)
    with context.services.hub.waiting(("h", name)) as hint:
        began, before = time.perf_counter(), time.time()
        database_time = await probes.probe(context.db, f"h:{name}")
        answered = time.time()
        arrived = await hint.wait(_NOTIFY_SECONDS)
        took = (time.perf_counter() - began) * 1000
    return took if arrived else None, (database_time.timestamp() - (before + answered) / 2) * 1000
