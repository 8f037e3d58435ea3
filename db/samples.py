"""Typed functions over ``sql/queries/samples.sql``: how the installation has worked over the last days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from db.database import Database


async def take(db: Database) -> bool:
    """Write the row of this minute; return whether this call wrote it."""
    return await db.optional("take_sample") is not None


async def prune(db: Database) -> int:
    """Delete rows older than 14 days; return how many."""
    return len(await db.many("prune_samples"))


async def series(db: Database, since: datetime, step_seconds: float) -> list[Mapping[str, Any]]:
    """Return the samples since a time, one for each step that has any."""
    return [dict(row) for row in await db.many("list_samples", since=since, step=step_seconds)]
