"""The procedure ``stats.series``: how the installation has worked, for plots."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from app.access.auth import READ
from app.access.context import Context
from app.procedures.checks.arguments import Since, since_time
from app.rpc.server.procedure import query
from app.shapes.records import Wire
from db import samples

_KEPT_HOURS = 14 * 24
_MOST_STEPS = 2000
_PLOTTED_STEPS = 300
_MINUTE = 60


class SeriesInput(Wire):
    """Since when, as a time, a number of seconds ago, or ``hours``; and how many seconds one point stands for."""

    hours: Annotated[float, Meta(gt=0, le=_KEPT_HOURS)] = 24.0
    since: Since = None
    step: Annotated[int, Meta(ge=_MINUTE, le=_KEPT_HOURS * 3600)] | None = None


class SeriesPoint(Wire, omit_defaults=False):
    """One step: the highest numbers of jobs and workers and the highest latency, the sums of tasks and cost."""

    at: datetime
    """Its beginning."""
    queued: int
    running: int
    paused: int
    workers: int
    """Idle and busy ones."""
    succeeded: int
    failed: int
    cancelled: int
    cost_usd: float
    latency_p50_ms: float | UnsetType = UNSET
    """From an agent's write to the database; absent where there was no output."""
    latency_p99_ms: float | UnsetType = UNSET


class Series(Wire, omit_defaults=False):
    """The points, oldest first. A step in which no replica ran has none."""

    step_seconds: int
    items: list[SeriesPoint]


@query(access=READ)
async def series(context: Context, input: SeriesInput) -> Series:
    """Return how the installation has worked since a time; it remembers 14 days, by the minute."""
    now = datetime.now(UTC)
    since = since_time(input.since) or now - timedelta(hours=input.hours)
    since = max(since, now - timedelta(hours=_KEPT_HOURS))
    step = step_seconds((now - since).total_seconds(), input.step)
    rows = await samples.series(context.db, since, step)
    points = ({name: value for name, value in row.items() if value is not None} for row in rows)
    return Series(step_seconds=step, items=[SeriesPoint(**point) for point in points])


def step_seconds(seconds: float, wanted: int | None) -> int:
    """Return a step of whole minutes that divides a span into few enough points; without a wish, into 300."""
    least = seconds / _PLOTTED_STEPS if wanted is None else max(wanted, seconds / _MOST_STEPS)
    return max(1, math.ceil(least / _MINUTE)) * _MINUTE
