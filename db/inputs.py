"""Typed functions over ``sql/queries/inputs.sql``: the stdin of jobs."""

from __future__ import annotations

from dataclasses import dataclass

from db.database import Database
from db.model import HeldAttempt, parameters_of


@dataclass(frozen=True, slots=True)
class Progress:
    """How many bytes have arrived, and whether that is all."""

    received: int
    ended: bool
    beats: int = 0
    """How many signs of life the sender has given; 0: it gives none."""


async def store(
    db: Database, task_id: int, job: int, *, offset: int, data: bytes, end: bool, alive: bool, waiting_limit: int
) -> Progress | None:
    """Store new bytes that fit; None: the job takes no input, or no more."""
    row = await db.optional(
        "store_input", task_id=task_id, job=job, offset=offset, data=data, ends=end, alive=alive,
        waiting_limit=waiting_limit,
    )  # fmt: skip
    return Progress(row["received"], row["ended"]) if row else None


async def take(db: Database, reader: HeldAttempt, *, offset: int, keep_limit: int) -> Progress | None:
    """Record that an attempt has everything before ``offset``; None: it does not run, or the next bytes are gone."""
    row = await db.optional("take_input", **parameters_of(reader, offset=offset, keep_limit=keep_limit))
    return Progress(row["received"], row["ended"], row["beats"]) if row else None


async def read(db: Database, task_id: int, job: int, *, offset: int, byte_limit: int) -> bytes:
    """Return at most ``byte_limit`` bytes from ``offset`` on."""
    rows = await db.many("read_input", task_id=task_id, job=job, offset=offset, byte_limit=byte_limit)
    if not rows:
        return b""
    skipped = offset - rows[0]["begins_at"]
    return b"".join(row["data"] for row in rows)[skipped : skipped + byte_limit]


async def lose(db: Database, reader: HeldAttempt) -> None:
    """Write to the log that the attempt needed bytes that are gone."""
    await db.optional("lose_input", task_id=reader.task_id, job=reader.job, attempt=reader.attempt)


async def forget(db: Database) -> int:
    """Delete the input of jobs that have ended; return how many inputs."""
    return int((await db.one("forget_inputs"))["inputs"])
