"""Counters of the whole installation. They are in the database, so they outlive replicas and pruned tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from db.database import Database

_NOTES_PER_TRANSACTION = 50_000


@dataclass(frozen=True, slots=True)
class CounterTotal:
    """How often something was counted, and the sum of the amounts: seconds, tokens or US dollars."""

    measure: str
    agent: str
    kind: str
    reason: str
    bucket: float
    count: int
    amount: float


async def figures(db: Database, agents: Iterable[str], reasons: Iterable[str]) -> list[CounterTotal]:
    """Read every counter; agents and reasons that are not named count as other. Raises DatabaseUnavailable."""
    rows = await db.many("metric_figures", agents=["", *agents], reasons=["", *reasons])
    return [CounterTotal(**row) for row in rows]


async def add_notes(db: Database, agents: Iterable[str], reasons: Iterable[str]) -> int:
    """Add recent notes to the totals; return how many notes there were. Raises DatabaseUnavailable."""
    row = await db.one("add_metric_notes", agents=["", *agents], reasons=["", *reasons], most=_NOTES_PER_TRANSACTION)
    notes: int = row["notes"]
    return notes
