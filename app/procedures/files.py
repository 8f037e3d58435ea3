"""The procedures ``files.*``: files that belong to a task, checked by their digest.

Bytes travel as HTTP bodies (``app/replica/file_bodies.py``). ``files.write`` and ``files.read``, which carry pieces in
base64, stay for one release, for clients that know no bodies.

Kinds: ``base`` is sent before ``tasks.create``, which takes it by its fileId; a file that no task takes is deleted
after a while. ``result``, ``patch`` (the result's changes as text) and ``checkpoint`` are sent by a worker for an
attempt that it holds; the newest one replaces the older ones of its job.
States: ``begin`` announces size and digest, pieces of ``chunkBytes`` are stored in any order, ``commit`` checks the
digest of what is stored. Only a committed file can be read. Every step may be repeated, and ``begin`` answers how
many bytes are stored, so a broken connection costs one piece.
Authority: the attempt fences every write of a worker, and its credential is the token for these calls. It reads the
files of its own job. A worker's own token serves only attempts without a credential. A viewer reads results.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from app.access.auth import READ_FILES, WRITE_FILES
from app.access.context import Context
from app.core.reasons import refusal
from app.procedures.checks import paging
from app.procedures.checks.arguments import ABOUT_BYTES, check_json_limit, decode_base64
from app.procedures.checks.fences import (
    Attempt,
    WorkerId,
    fence_error,
    held_attempt,
    lease_lost,
    may_write,
)
from app.procedures.checks.ids import no_such_file, parse_task
from app.procedures.checks.ownership import check_may_see, only_creator
from app.procedures.checks.paging import Page, PageInput
from app.rpc.server.procedure import mutation, query
from app.shapes.records import Wire, job_id
from db import files, jobs
from db.files import File, FileCursor, FileLimits, Kind
from db.model import HeldAttempt

CHUNK_BYTES = 1024 * 1024
_ATTEMPT_FILES = 16
"""An attempt has a result and a checkpoint; files that were sent in part count as well."""
_TASK_FILES = 4000
_CURSOR = re.compile(r"(\d{0,9})/(\d{1,18})/(file-[0-9a-f]{32})", re.ASCII)
_READABLE: dict[str, frozenset[str]] = {
    "viewer": frozenset({"result", "patch"}),
    "developer": frozenset({"result", "patch", "base"}),
    "operator": frozenset({"result", "patch", "base"}),
    "admin": frozenset({"result", "patch", "base", "checkpoint"}),
    "worker": frozenset({"result", "patch", "base", "checkpoint"}),
    "attempt": frozenset({"result", "patch", "base", "checkpoint"}),
}
_SENDERS = frozenset({"developer", "operator"})
"""Roles that send the ``base`` of a task and no other kind."""

FileId = Annotated[str, Meta(pattern=r"^file-[0-9a-f]{32}$")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class FileBeginInput(Wire):
    """A file to send; the sender chooses a random ``fileId``. A worker names its attempt."""

    file_id: FileId
    kind: Kind
    size: Annotated[int, Meta(ge=0, le=2**53)]
    sha256: Digest
    about: Any = None
    worker_id: WorkerId | None = None
    job_id: str | None = None
    attempt: Attempt | None = None


class Begun(Wire, omit_defaults=False):
    """How many bytes are stored already, and the size of a piece."""

    file_id: str
    received: int
    chunk_bytes: int


class FileWriteInput(Wire):
    """One piece; ``data`` is base64."""

    file_id: FileId
    offset: Annotated[int, Meta(ge=0)]
    data: str


class FileInput(Wire):
    """A file by its id."""

    file_id: FileId


class FileReadInput(Wire):
    """The piece to read."""

    file_id: FileId
    offset: Annotated[int, Meta(ge=0)] = 0


class FilesInput(PageInput, kw_only=True):
    """The task whose files to list."""

    task_id: str


class FileInfo(Wire):
    """A file without its bytes."""

    file_id: str
    kind: Kind
    size: int
    sha256: str
    created_at: datetime
    job_id: str | UnsetType = UNSET
    job: int | UnsetType = UNSET
    attempt: int | UnsetType = UNSET
    about: Any = UNSET

    @classmethod
    def of(cls, file: File) -> FileInfo:
        """Make the shape of a record."""
        name = job_id(file.task_id, file.job) if file.task_id is not None and file.job is not None else UNSET
        return cls.from_record(file, sha256=file.sha256.hex(), job_id=name)


class Files(Page[FileInfo]):
    """A page of the task's files that the caller may read; it may be empty and not be the last."""


class Piece(Wire, omit_defaults=False):
    """Bytes of a file as base64; ``size`` is the whole file's."""

    offset: int
    size: int
    data: str


@mutation(access=WRITE_FILES)
async def begin(context: Context, input: FileBeginInput) -> Begun:
    """Begin to send a file, or continue one that was begun."""
    limit = context.services.settings.file_bytes
    if input.size > limit:
        message = f"size: {input.size} bytes are more than the limit of {limit} (ADO_FILE_BYTES)"
        raise refusal("limit_exceeded", message, field="size", limit=limit)
    check_json_limit("about", input.about, ABOUT_BYTES)
    fence = _fence(context, input)
    file = await files.begin(
        context.db,
        file_id=input.file_id,
        kind=input.kind,
        size=input.size,
        sha256=bytes.fromhex(input.sha256),
        about=input.about,
        fence=fence,
        room=_file_limits(context),
    )
    if file is None:
        raise await _refused(context, input.file_id, fence)
    pieces = await files.received(context.db, file.file_id, _piece_count(file.size))
    return Begun(file_id=file.file_id, received=min(file.size, pieces * CHUNK_BYTES), chunk_bytes=CHUNK_BYTES)


def _fence(context: Context, input: FileBeginInput) -> HeldAttempt | None:
    if input.kind == "base":
        if context.caller.role in ("worker", "attempt"):
            raise refusal("forbidden", "a worker sends only results and checkpoints of its jobs")
        return None
    if input.worker_id is None or input.job_id is None or input.attempt is None:
        raise refusal("invalid_input", f"{input.kind}: workerId, jobId and attempt are required", field="jobId")
    if context.caller.role in _SENDERS:
        raise refusal("forbidden", "only the worker that holds a job sends its results")
    return held_attempt(context, input.worker_id, input.job_id, input.attempt)


def _file_limits(context: Context) -> FileLimits:
    settings = context.services.settings
    return FileLimits(_ATTEMPT_FILES, settings.attempt_file_bytes, _TASK_FILES, settings.task_file_bytes)


async def _refused(context: Context, file_id: str, fence: HeldAttempt | None) -> Exception:
    if await files.get(context.db, file_id) is not None:
        return refusal("file_mismatch", "this fileId belongs to another file")
    if fence is not None:
        job = await jobs.get(context.db, fence.task_id, fence.job)
        if not may_write(job, fence):
            return fence_error(job, fence)
    limits = _file_limits(context)
    text = (
        f"size: an attempt has at most {limits.attempt_files} files and {limits.attempt_bytes} bytes "
        f"(ADO_ATTEMPT_FILE_BYTES), a task {limits.task_files} files and {limits.task_bytes} bytes "
        "(ADO_TASK_FILE_BYTES)"
    )
    return refusal("limit_exceeded", text, field="size", limit=limits.task_bytes)


def _piece_count(size: int) -> int:
    return -(-size // CHUNK_BYTES)


async def writable_file(context: Context, file_id: str) -> File:
    """Return a file that the caller may write to. Raises NOT_FOUND."""
    file = await files.get(context.db, file_id)
    if file is None or (context.caller.role in _SENDERS and file.kind != "base"):
        raise no_such_file(file_id)
    if not await _may_write(context, file):
        raise no_such_file(file_id)
    return file


async def _may_write(context: Context, file: File) -> bool:
    caller = context.caller
    if caller.role == "attempt":
        return (file.task_id, file.job, file.attempt) == (caller.task_id, caller.job, caller.attempt)
    if caller.role != "worker":
        return True
    if file.worker_id != caller.worker_id or file.task_id is None or file.job is None:
        return False
    job = await jobs.get(context.db, file.task_id, file.job)
    return job is None or job.attempt != file.attempt or job.credential is None


@mutation(access=WRITE_FILES)
async def write(context: Context, input: FileWriteInput) -> Begun:
    """Store one piece. Repeating the call changes nothing."""
    file = await writable_file(context, input.file_id)
    return await store_piece(context, file, input.offset, decode_base64("data", input.data))


async def store_piece(context: Context, file: File, offset: int, data: bytes) -> Begun:
    """Store one piece of a file that the caller may write to; a complete file stays as it is. Raises ProcedureError."""
    if offset % CHUNK_BYTES or len(data) != min(CHUNK_BYTES, file.size - offset):
        message = f"data: it must be a piece of {CHUNK_BYTES} bytes at a multiple of that, or the end of the file"
        raise refusal("invalid_input", message, field="data")
    if not await files.write(context.db, file.file_id, offset // CHUNK_BYTES, data):
        now = await files.get(context.db, file.file_id)  # another sender of the same file may have completed it
        if now is None or now.completed_at is None:
            raise _write_refused(file)
    return Begun(file_id=file.file_id, received=offset + len(data), chunk_bytes=CHUNK_BYTES)


def _write_refused(file: File) -> Exception:
    if file.job is None or file.task_id is None or file.attempt is None or file.worker_id is None:
        return no_such_file(file.file_id)
    return lease_lost(HeldAttempt(file.task_id, file.job, file.attempt, file.worker_id))


@mutation(access=WRITE_FILES)
async def commit(context: Context, input: FileInput) -> FileInfo:
    """Make a file readable, if the stored bytes have the announced digest."""
    file = await writable_file(context, input.file_id)
    if file.completed_at is None:
        await _check_digest(context, file)
        if not await files.complete(context.db, file.file_id, context.actor("files.commit")):
            raise _write_refused(file)
    return FileInfo.of(file)


async def _check_digest(context: Context, file: File) -> None:
    digest = hashlib.sha256()
    for number in range(_piece_count(file.size)):
        data = await files.read(context.db, file.file_id, number)
        if data is None:
            raise refusal("file_mismatch", f"the piece at {number * CHUNK_BYTES} is missing")
        digest.update(data)
    if digest.digest() != file.sha256:
        raise refusal("file_mismatch", "the stored bytes do not have the announced digest")


@query(access=READ_FILES)
async def read(context: Context, input: FileReadInput) -> Piece:
    """Return the piece of a file that begins at an offset."""
    file = await readable_file(context, input.file_id)
    if input.offset % CHUNK_BYTES or input.offset > file.size:
        raise refusal("invalid_input", f"offset: it must be a multiple of {CHUNK_BYTES}", field="offset")
    data = await read_piece(context, file, input.offset)
    return Piece(offset=input.offset, size=file.size, data=base64.b64encode(data).decode())


async def readable_file(context: Context, file_id: str) -> File:
    """Return a complete file that the caller may read. Raises NOT_FOUND."""
    file = await files.get(context.db, file_id)
    if file is None or file.completed_at is None or not await _readable(context, [file]):
        raise no_such_file(file_id)
    await _check_task(context, file)
    return file


async def read_piece(context: Context, file: File, offset: int) -> bytes:
    """Return the bytes from an offset to the end of its piece; none at the end of the file. Raises NOT_FOUND."""
    number, skipped = divmod(offset, CHUNK_BYTES)
    data = await files.read(context.db, file.file_id, number)
    if data is None and offset < file.size:  # it was deleted since the caller's rights were checked
        raise no_such_file(file.file_id)
    return (data or b"")[skipped:]


@query(access=READ_FILES)
async def listing(context: Context, input: FilesInput) -> Files:
    """Return the files of a task that the caller may read, by job."""
    task_id = parse_task(input.task_id)
    await check_may_see(context, task_id)
    after = None if input.cursor is None else _parse_cursor(input.cursor)
    page, more = await files.listing(context.db, task_id, after, paging.page_limit(context, input.limit))
    items = [FileInfo.of(file) for file in await _readable(context, page)]
    return Files(items=items, next_cursor=_cursor(page[-1]) if more else UNSET)


def _cursor(file: File) -> str | UnsetType:
    at = file.completed_at or file.created_at
    return paging.next_cursor(True, "" if file.job is None else file.job, paging.microseconds(at), file.file_id)


def _parse_cursor(text: str) -> FileCursor:
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise paging.invalid_cursor()
    return FileCursor(int(match[1] or -1), paging.parse_microseconds(match[2]), match[3])


async def _check_task(context: Context, file: File) -> None:
    """Raise NOT_FOUND for a file of a hidden task, and for one that no task has taken yet."""
    if only_creator(context) is None:
        return
    if file.task_id is None:
        raise no_such_file(file.file_id)
    await check_may_see(context, file.task_id)


async def _readable(context: Context, page: list[File]) -> list[File]:
    """Return the files that the caller may read."""
    caller = context.caller
    readable = [file for file in page if file.kind in _READABLE.get(caller.role, frozenset())]
    held: set[tuple[int | None, int | None]]
    if caller.role == "attempt":
        held = {(caller.task_id, caller.job)}
    elif caller.role == "worker":
        held = {*await jobs.unguarded(context.db, caller.worker_id or "")}
    else:
        return readable
    tasks = {task_id for task_id, _ in held}
    return [
        file for file in readable if (file.task_id, file.job) in held or (file.job is None and file.task_id in tasks)
    ]
