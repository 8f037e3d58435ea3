"""The audit: recording refused calls, reading it and pruning it. Changes are recorded by their own statements."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from db.database import Database


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused call; ``count`` is how many equal calls it stands for."""

    reason: str
    user_id: str | None = None
    token_id: str | None = None
    address: str | None = None
    procedure: str | None = None
    target: str | None = None
    request_id: str | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the audit."""

    at: datetime
    audit_id: int
    user_id: str | None
    token_id: str | None
    address: str | None
    procedure: str | None
    target: str | None
    outcome: str
    reason: str | None
    request_id: str | None
    count: int


async def record_refusals(db: Database, refusals: Sequence[Refusal]) -> None:
    """Store refused calls, one row each."""
    await db.many("record_refusals", refusals=orjson.dumps([dataclasses.asdict(item) for item in refusals]).decode())


async def listing(
    db: Database,
    *,
    account: str | None,
    target: str | None,
    since: datetime | None,
    before: tuple[datetime, int] | None,
    limit: int,
) -> tuple[list[AuditRow], bool]:
    """Return up to ``limit`` rows before a row's time and id, newest first, and whether there are older ones."""
    values: dict[str, Any] = {"account": account, "target": target, "since": since, "row_limit": limit + 1}
    before_at, before_id = before or (None, None)
    rows = await db.many("list_audit", **values, before_at=before_at, before_id=before_id)
    return [AuditRow(**dict(row)) for row in rows[:limit]], len(rows) > limit


async def prune(db: Database, keep_days: float) -> int:
    """Remove a batch of the rows that are older than ``keep_days``; return how many."""
    return int((await db.one("prune_audit", keep_days=keep_days))["removed"])
