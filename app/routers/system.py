"""The procedures ``system.*``: what is wrong with this replica, what its database costs, how far clocks are apart."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from statistics import median

from msgspec import UNSET, UnsetType

from app.auth import OPERATE, READ
from app.context import Context
from app.routers.shapes import Wire
from app.rpc.procedure import mutation, query
from db import health as probes
from db import workers

_ROUNDS = 9
_HEAR_SECONDS = 1.0


class Health(Wire):
    """What ``/readyz`` says of the replica that answers."""

    problems: dict[str, str]
    """By part (process, database, schema, listener); empty when it is ready."""


@query(access=READ)
async def health(context: Context) -> Health:
    """Say what is wrong with the replica, to a client whose stream is silent."""
    return Health((await context.services.readiness.report()).problems)


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
