"""What health checks and scrapes read: counts of jobs and workers, the oldest transaction, schema and clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from db.database import Database
from db.errors import DatabaseFull, DatabaseReadOnly
from db.migrate import Schema


async def jobs(db: Database) -> tuple[dict[str, int], float]:
    """Return open jobs by status, and how many seconds the oldest queued one has waited. Raises DatabaseUnavailable.

    More than 10,000 queued or paused jobs are as of the last sample, some three minutes old at most.
    """
    row = await db.one("queue_counts")
    return {status: row[status] for status in ("queued", "running", "paused")}, row["oldest_seconds"]


async def spawners(db: Database) -> Counter[str]:
    """Return spawners by state. Raises DatabaseUnavailable."""
    return Counter(row["state"] for row in await db.many("list_spawners"))


async def oldest_activity(db: Database) -> tuple[float, int]:
    """Return the age of the oldest transaction, in seconds, and of the oldest snapshot, in transactions.

    Raises DatabaseUnavailable.
    """
    row = await db.one("oldest_activity")
    return row["transaction_seconds"], row["snapshot_age"]


async def check_writes(db: Database) -> None:
    """Raise DatabaseReadOnly or DatabaseFull where writes are refused, or were a moment ago; DatabaseUnavailable."""
    if (await db.one("is_read_only"))["read_only"]:
        raise DatabaseReadOnly
    if db.was_full():
        raise DatabaseFull


async def schema(db: Database) -> Schema:
    """Return where the database is. Raises DatabaseUnavailable."""
    row = await db.one("schema_version")
    return Schema(row["version"], row["oldest"])


async def probe(db: Database, hint: str) -> datetime:
    """Send a hint, which its sender hears again if notifications arrive; return the database's time.

    Raises DatabaseUnavailable.
    """
    db.notify(hint)
    now: datetime = (await db.one("database_time"))["now"]
    return now


async def commit_something(db: Database, *, durable: bool) -> None:
    """Commit a few bytes that nobody reads. Raises DatabaseUnavailable."""
    await db.one("commit_something", durable=durable)


@dataclass(frozen=True, slots=True)
class BlockerRow:
    """A session that holds a lock for which others have waited for two seconds or more."""

    pid: int
    """0: a prepared transaction."""
    role: str | None
    application: str | None
    state: str | None
    transaction_at: datetime | None
    blocked: int
    waiting_since: datetime


async def blockers(db: Database) -> list[BlockerRow]:
    """Return who holds others up, the longest first; reads no table of ado. Raises DatabaseUnavailable."""
    return [BlockerRow(**row) for row in await db.many("lock_blockers")]


async def silent_spawners(db: Database) -> list[str]:
    """Return the ids of spawners that stopped and that nobody has succeeded. Raises DatabaseUnavailable."""
    return [row["spawner_id"] for row in await db.many("list_spawners") if row["state"] == "silent"]


async def monitor_age(db: Database) -> float:
    """Return since how many seconds no replica has watched over leases. Raises DatabaseUnavailable."""
    seconds: float = (await db.one("monitor_age"))["seconds"]
    return seconds


async def sizes(db: Database) -> tuple[int, dict[str, int]]:
    """Return the bytes of the database, and of each table with its indexes. Raises DatabaseUnavailable."""
    tables = {row["table"]: row["bytes"] for row in await db.many("table_sizes")}
    return (await db.one("database_size"))["bytes"], tables
