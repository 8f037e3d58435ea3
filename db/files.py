"""Typed functions over ``sql/queries/files.sql``: bundles of commits and checkpoints of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from db import paging
from db.actor import Actor, parameter
from db.database import Database
from db.model import HeldAttempt, json_of, parameters_of, record_of

Kind = Literal["base", "result", "patch", "checkpoint"]


@dataclass(frozen=True, slots=True)
class File:
    """One file; ``task_id`` is None until a task has taken it, ``job`` for what belongs to the whole task."""

    file_id: str
    kind: Kind
    task_id: int | None
    job: int | None
    attempt: int | None
    worker_id: str | None
    size: int
    sha256: bytes
    about: Any
    created_at: datetime
    completed_at: datetime | None

    @classmethod
    def of(cls, row: Any) -> File:
        """Make one from a row of ado.files."""
        return record_of(cls, row, about=json_of(row["about"]))


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Most files and bytes of one attempt and of one task; the limits of a task also hold for untaken files."""

    attempt_files: int = 2**62
    attempt_bytes: int = 2**62
    task_files: int = 2**62
    task_bytes: int = 2**62


async def begin(
    db: Database,
    *,
    file_id: str,
    kind: Kind,
    size: int,
    sha256: bytes,
    about: Any,
    fence: HeldAttempt | None,
    room: FileLimits = FileLimits(),
) -> File | None:
    """Begin to send a file, or return the begun one; None: the fence or a limit refused it, or the name is taken."""
    nobody = dict.fromkeys(("task_id", "job", "attempt", "worker_id", "credential"))
    row = await db.optional(
        "begin_file",
        file_id=file_id,
        kind=kind,
        **(parameters_of(fence) if fence else nobody),
        size=size,
        digest=sha256,
        about=None if about is None else orjson.dumps(about).decode(),
        attempt_file_limit=room.attempt_files,
        attempt_byte_limit=room.attempt_bytes,
        task_file_limit=room.task_files,
        task_byte_limit=room.task_bytes,
    )
    return File.of(row) if row else None


async def get(db: Database, file_id: str) -> File | None:
    """Return a file without its bytes."""
    row = await db.optional("get_file", file_id=file_id)
    return File.of(row) if row else None


@dataclass(frozen=True, slots=True)
class FileCursor:
    """The position of a file in the list of its task."""

    job: int
    """-1 for a file of no job."""
    completed_at: datetime
    file_id: str


async def listing(
    db: Database, task_id: int, after: FileCursor | None = None, room: paging.PageLimit = paging.ALL
) -> tuple[list[File], bool]:
    """Return the files of a task that still count, after a cursor, and whether there are more."""
    rows = await db.many(
        "list_files",
        task_id=task_id,
        after_job=after and after.job,
        after_at=after and after.completed_at,
        after=after and after.file_id,
        row_limit=room.rows,
        byte_limit=room.bytes,
    )
    return [File.of(row) for row in rows], paging.more(rows)


async def received(db: Database, file_id: str, count: int) -> int:
    """Return how many of a file's ``count`` pieces are stored without a gap."""
    return int((await db.one("received_chunks", file_id=file_id, count=count))["chunks"])


async def write(db: Database, file_id: str, number: int, data: bytes) -> bool:
    """Store one piece; False when the file takes no more."""
    return await db.optional("write_chunk", file_id=file_id, number=number, data=data) is not None


async def read(db: Database, file_id: str, number: int) -> bytes | None:
    """Return one piece."""
    row = await db.optional("read_chunk", file_id=file_id, number=number)
    return bytes(row["data"]) if row else None


async def complete(db: Database, file_id: str, actor: Actor | None = None) -> bool:
    """Let a file count; False when the fence refused it."""
    return await db.optional("complete_file", file_id=file_id, actor=parameter(actor)) is not None


async def prune(db: Database, keep_seconds: float, session_seconds: float = 0.0) -> int:
    """Delete files that are not needed any more; return how many.

    The checkpoint of a job that succeeded is kept for ``session_seconds``.
    """
    row = await db.one("prune_files", keep_seconds=keep_seconds, session_seconds=session_seconds)
    return int(row["files"])
