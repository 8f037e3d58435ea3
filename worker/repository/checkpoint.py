"""Checkpoints: the session and the files of an agent are saved while it works, and the next attempt resumes from
them.

A checkpoint is one file, so it is complete or absent. It contains the session's id and files, and a snapshot of the
working tree. The session is copied before the tree: an agent may repeat an edit, but its session must not mention an
edit that the tree lacks. A checkpoint is saved at the end of a turn, one at a time, at most every
``checkpoint_seconds``; later changes are in the next one. It is fenced like an append, and the server keeps only a
job's latest. Files outside the agent's HOME are never read, even through links.

The tree is restored without the files that snapshots leave out. The session is restored if the attempt has the same
path (see ``directories``). An agent whose session cannot be resumed gets a prompt that describes the changes so far.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import logging
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

import msgspec

from app.core.git import GitError
from app.rpc.client import CallError
from worker.agents.base import CONTINUE, Agent, Run, valid_session
from worker.output.batches import LeaseLost
from worker.output.buffer import Outbox
from worker.processes.directories import AttemptDirectory
from worker.repository.safe_open import open_beneath
from worker.repository.snapshot import TreeSnapshot
from worker.repository.transfers import AttemptFiles
from worker.repository.workspace import JobWorkspace

_log = logging.getLogger("ado.worker")
_SESSION_BYTES = 64 * 1024 * 1024
_META_BYTES = 1024 * 1024
_UNREADABLE = "the checkpoint cannot be read"
_REF = "refs/heads/ado/checkpoint"
_PREAMBLE = """\
You began this task before and were interrupted: the process that you ran in went away. Your conversation is lost, but
your files are as they were at your last step: {files} changed files, {added} lines added, {removed} removed (git diff
shows them). Look at what is done, then go on with the task:

"""


@dataclass(frozen=True, slots=True)
class SessionState:
    """An agent's session: its id, the usage it has reported so far, and its files."""

    session: str | None = None
    reported: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[Path] = ()
    message_ids: Sequence[str] = ()
    """Ids of the messages that are part of it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of an earlier attempt, as it was read from a file."""

    attempt: int
    tree: Path | None
    """The bundle of its snapshot; None if nothing had changed."""
    session: str | None
    reported: Mapping[str, Any]
    changes: Mapping[str, int]
    message_ids: Sequence[str] = ()
    """Ids of the messages that are part of the session."""

    def prompt(self, prompt: str, *, converses: bool) -> str:
        """Return the prompt with which an agent resumes; a program that does not converse gets its own prompt again."""
        if not converses:
            return prompt
        return CONTINUE if self.session else _PREAMBLE.format(**self.changes) + prompt


class CheckpointSaver:
    """Saves the checkpoints of one attempt; ``session_state`` returns the state of its session."""

    def __init__(
        self,
        attempt_dir: AttemptDirectory,
        files: AttemptFiles,
        workspace: JobWorkspace,
        outbox: Outbox,
        attempt: int,
        seconds: float,
    ) -> None:
        self._attempt_dir = attempt_dir
        self._files = files
        self._workspace = workspace
        self._outbox = outbox
        self._attempt = attempt
        self._seconds = seconds
        self._turn = asyncio.Event()
        self._reported: set[str] = set()
        self.session_state: Callable[[], SessionState] = SessionState

    def turn_ended(self) -> None:
        """Request a checkpoint."""
        self._turn.set()

    async def run(self) -> None:
        """Save at the end of turns until cancelled or until the lease is lost."""
        with contextlib.suppress(LeaseLost):  # batches and heartbeats end the attempt
            while True:
                await self._turn.wait()
                self._turn.clear()
                await self.save()
                await asyncio.sleep(self._seconds)

    async def save(self) -> None:
        """Save now. An error is reported once and costs only this checkpoint. Raises LeaseLost."""
        archive, bundle = self._attempt_dir.base / "checkpoint.tar.gz", self._attempt_dir.base / "checkpoint.bundle"
        try:
            session_state = await asyncio.to_thread(
                self.session_state
            )  # in a thread, because an agent may have made many files
            session = await asyncio.to_thread(_session, session_state, self._attempt_dir.home)
            snapshot = await self._workspace.snapshot(bundle, _REF, "Checkpoint\n", "ado")
            meta = self._meta(session_state, snapshot)
            await asyncio.to_thread(_pack, archive, meta, bundle, session)
            size = (await asyncio.to_thread(archive.stat)).st_size
            await self._files.send(archive, "checkpoint", {"commit": snapshot.commit, "session": session_state.session})
        except (GitError, CallError, OSError, ValueError) as error:
            self._report_failure(f"no checkpoint could be saved: {error}")
        else:
            event = {"type": "checkpoint", "commit": snapshot.commit, "session": session_state.session, "bytes": size}
            self._outbox.put({name: value for name, value in event.items() if value is not None})

    def _meta(self, session_state: SessionState, snapshot: TreeSnapshot) -> dict[str, Any]:
        return {
            "attempt": self._attempt,
            "session": session_state.session,
            "reported": dict(session_state.reported),
            "heard": list(session_state.message_ids),
            "changes": {"files": snapshot.files, "added": snapshot.added, "removed": snapshot.removed},
        }

    def _report_failure(self, message: str) -> None:
        _log.warning("checkpoint failed", extra={"detail": message})
        if message not in self._reported:
            self._reported.add(message)
            self._outbox.put({"type": "progress", "message": message})


def _session(session_state: SessionState, home: Path) -> dict[str, bytes]:
    """Read a session's files, without links and anything but files. Raises ValueError if they are too large."""
    contents: dict[str, bytes] = {}
    total = 0
    for path in session_state.files:
        if ".." in path.parts:
            continue
        with contextlib.suppress(OSError):
            fd = open_beneath(home, path.relative_to(home))
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    continue
                data = file.read(_SESSION_BYTES + 1)
            total += len(data)
            contents[path.relative_to(home).as_posix()] = data
        if total > _SESSION_BYTES:
            raise ValueError(f"the session's files are larger than {_SESSION_BYTES} bytes")
    return contents


def _pack(archive: Path, meta: Mapping[str, Any], bundle: Path, session: Mapping[str, bytes]) -> None:
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        _add(tar, "meta.json", json.dumps(meta).encode())
        tar.add(bundle, "tree.bundle")
        for name, data in session.items():
            _add(tar, f"home/{name}", data)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


class _Changes(msgspec.Struct):
    files: int
    added: int
    removed: int


class _Meta(msgspec.Struct):
    attempt: int
    reported: dict[str, int | float]
    changes: _Changes
    session: str | None = None
    heard: list[str] = []


class _BoundedArchive(io.RawIOBase):
    """An unpacked archive that refuses to return more than a number of bytes in all, or many at once.

    tarfile reads extended headers into memory, whatever size they announce.
    """

    def __init__(self, source: gzip.GzipFile, limit: int) -> None:
        self._source = source
        self._limit = limit

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _META_BYTES or self._source.tell() + size > self._limit:
            raise ValueError(_UNREADABLE)
        return self._source.read(size)


def unpack(archive: Path, attempt_dir: AttemptDirectory, limit: int) -> Checkpoint:
    """Restore a checkpoint: write its bundle, and its session's files into HOME if the attempt's path is the same.

    ``limit`` is the largest bundle in bytes. Raises ValueError for an archive that no worker writes, OSError.
    """
    tree = attempt_dir.base / "restored.bundle"
    total = limit + _SESSION_BYTES + _META_BYTES
    try:
        with gzip.open(archive) as packed, tarfile.open(fileobj=_BoundedArchive(packed, total), mode="r:") as tar:
            meta = _parse_meta(_extract(tar, tree, attempt_dir))
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(_UNREADABLE) from error
    has_tree = tree.exists() and tree.stat().st_size > 0
    session = meta.session if attempt_dir.stable else None
    changes = msgspec.structs.asdict(meta.changes)
    return Checkpoint(meta.attempt, tree if has_tree else None, session, meta.reported, changes, meta.heard)


def _extract(tar: tarfile.TarFile, tree: Path, attempt_dir: AttemptDirectory) -> bytes:
    """Write an archive's files; return its description of itself."""
    meta = b""
    for info in tar:
        content = tar.extractfile(info) if info.isreg() and not info.issparse() else None
        if content is None:
            raise ValueError(_UNREADABLE)
        if info.name == "meta.json":
            meta = content.read(_META_BYTES)
        elif info.name == "tree.bundle":
            with tree.open("wb") as file:
                shutil.copyfileobj(content, file)
        elif attempt_dir.stable:
            _restore(attempt_dir.home, info.name, content)
    return meta


def _parse_meta(data: bytes) -> _Meta:
    """Return what a checkpoint says about itself. Raises ValueError for anything that no worker writes."""
    try:
        meta = msgspec.json.decode(data, type=_Meta)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("the checkpoint does not describe itself") from error
    if meta.session != valid_session(meta.session):
        raise ValueError("the checkpoint does not describe itself")
    return meta


def _restore(home: Path, name: str, content: IO[bytes]) -> None:
    parts = PurePosixPath(name).parts
    if len(parts) < 2 or parts[0] != "home" or ".." in parts:
        raise ValueError("the checkpoint names a path that it may not")
    target = home.joinpath(*parts[1:])
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # before the content: a file that exists keeps its mode when it is opened
        shutil.copyfileobj(content, file)


def resumed(agent: Agent, run: Run, checkpoint: Checkpoint) -> Run:
    """Return a run that resumes from a checkpoint.

    If the session's files are missing, resuming would fail the task, so a new session gets a description of the
    changes.
    """
    if checkpoint.session and not agent.session_files(run.home, checkpoint.session):
        checkpoint = replace(checkpoint, session=None)
    prompt = checkpoint.prompt(run.prompt, converses=agent.converses)
    anew = replace(checkpoint, session=None).prompt(run.prompt, converses=agent.converses)
    return replace(run, prompt=prompt, anew=anew, session=checkpoint.session, reported=checkpoint.reported)
