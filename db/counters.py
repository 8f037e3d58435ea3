"""Counters of the whole installation, kept in the database: they survive replicas, and tasks that are pruned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from db.database import Database

_MOST = 50_000  # notes in one transaction


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
    """Move what was counted lately into the totals; return how much it was. Raises DatabaseUnavailable."""
    row = await db.one("add_metric_notes", agents=["", *agents], reasons=["", *reasons], most=_MOST)
    notes: int = row["notes"]
    return notes
