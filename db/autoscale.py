"""Typed functions over ``sql/queries/autoscale.sql``: the ranges within which spawners keep workers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from db.actor import Actor, parameter
from db.database import Database
from db.model import parameters_of, record_of

MOST_RANGES = 100
MOST_WAITING = 100_000
"""The largest product of maximum and target: spawners count the queue up to it, several times a second."""


@dataclass(frozen=True, slots=True)
class AutoscaleRange:
    """A range with the workers that there are, as ``ado.autoscale_status`` has it."""

    capability: str
    """Empty: every worker that a spawner starts."""
    minimum: int
    maximum: int
    target_queue: int
    cooldown_seconds: float
    workers: int = 0
    leaving: int = 0
    ready: int = 0
    busy: int = 0
    surplus_seconds: float | None = None
    surplus_peak: int | None = None

    def covers(self, capabilities: Collection[str]) -> bool:
        """Whether it is about workers that offer these, or jobs that need these."""
        return not self.capability or self.capability in capabilities


@dataclass(frozen=True, slots=True)
class FullRange:
    """A range that allows no more workers."""

    capability: str
    maximum: int
    workers: int


@dataclass(frozen=True, slots=True)
class SurplusNote:
    """What a range remembers: the most workers that were needed since there are more; None: there are not more."""

    capability: str
    peak: int | None
    restart: bool = False
    """Whether the cooldown begins again."""


@dataclass(frozen=True, slots=True)
class NewRange:
    """A range as it is asked for; None: as it is, or the default."""

    capability: str
    minimum: int | None = None
    maximum: int | None = None
    target_queue: int | None = None
    cooldown_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class SetRange:
    """The limits that were asked for, completed by those that were there; ``stored`` says whether they are kept."""

    minimum: int
    maximum: int | None
    target_queue: int
    others: int
    stored: bool


def ranges_of(rows: Collection[Mapping[str, Any]]) -> tuple[AutoscaleRange, ...]:
    """Make ranges of rows of ``list_autoscale``."""
    return tuple(record_of(AutoscaleRange, row) for row in rows)


async def ranges(db: Database) -> tuple[AutoscaleRange, ...]:
    """Return the ranges by capability."""
    return ranges_of(await db.many("list_autoscale"))


async def full(db: Database, task_id: int) -> list[FullRange]:
    """Return the ranges at their maximum that are about the queued job of a task that may start first."""
    return [FullRange(**row) for row in await db.many("full_ranges", task_id=task_id)]


async def store(db: Database, new: NewRange, actor: Actor | None = None) -> SetRange:
    """Store a range, unless its limits exclude each other or there are too many."""
    limits = {"most": MOST_RANGES, "most_waiting": MOST_WAITING}
    row = await db.one("set_autoscale", **parameters_of(new, **limits, actor=parameter(actor)))
    return record_of(SetRange, row)


async def remove(db: Database, capability: str, actor: Actor | None = None) -> AutoscaleRange | None:
    """Remove a range and return it; None: there is none."""
    row = await db.optional("remove_autoscale", capability=capability, actor=parameter(actor))
    return ranges_of([row])[0] if row else None
