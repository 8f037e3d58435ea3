"""Resume, not restart: where a conversation stands is saved while it goes on, and the next attempt goes on from there.

A checkpoint is one file, so it is whole or not there: the session's id and files, and a snapshot of the tree. The
session is copied before the tree, because an agent may do an edit again but must not believe in one that is gone. It
is taken at the end of a turn, one at a time and not more often than ``checkpoint_seconds``; what happens meanwhile is
in the next one. It is fenced like an append, and only a job's latest is kept. An agent may overwrite its session's
files, as they are its own; nothing is followed out of its HOME.

What is restored is the tree without what a snapshot leaves out, and the session if the path is the same one (see
``directories``). An agent without a session that can be resumed is told what was done.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import logging
import os
import re
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from app.core.git import GitError
from app.rpc.client import CallError
from worker.agents.base import CONTINUE, Agent, Run
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
SESSION_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}")
"""A session's name becomes part of a path, and an argument that must not read as an option."""
_REF = "refs/heads/ado/checkpoint"
_PREAMBLE = """\
You began this task before, on a machine that went away. Your conversation is lost, but your files are as they were at
your last step: {files} changed files, {added} lines added, {removed} removed (git diff shows them). Look at what is
done, then go on with the task:

"""


@dataclass(frozen=True, slots=True)
class SessionState:
    """What is known of an agent's session: its id, what it has reported so far, and the files that make it up."""

    session: str | None = None
    reported: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where an earlier attempt stood."""

    attempt: int
    tree: Path | None
    """The bundle of its snapshot; None: nothing had changed."""
    session: str | None
    reported: Mapping[str, Any]
    changes: Mapping[str, int]

    def prompt(self, prompt: str, *, converses: bool) -> str:
        """Return what to ask an agent that goes on; a program that does not converse gets what it got before."""
        if not converses:
            return prompt
        return CONTINUE if self.session else _PREAMBLE.format(**self.changes) + prompt


class CheckpointSaver:
    """Saves one attempt; ``session_state`` tells where its session is."""

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
        self._said: set[str] = set()
        self.session_state: Callable[[], SessionState] = SessionState

    def turn_ended(self) -> None:
        """Ask for a checkpoint."""
        self._turn.set()

    async def run(self) -> None:
        """Save at the end of turns until cancelled, or until the lease is lost."""
        with contextlib.suppress(LeaseLost):  # told to the attempt by its batches and heartbeats
            while True:
                await self._turn.wait()
                self._turn.clear()
                await self.save()
                await asyncio.sleep(self._seconds)

    async def save(self) -> None:
        """Save now; what goes wrong is told once and costs no more than the checkpoint. Raises LeaseLost."""
        archive, bundle = self._attempt_dir.base / "checkpoint.tar.gz", self._attempt_dir.base / "checkpoint.bundle"
        try:
            session_state = await asyncio.to_thread(
                self.session_state
            )  # an agent may have made any number of files there
            session = await asyncio.to_thread(_session, session_state, self._attempt_dir.home)
            snapshot = await self._workspace.snapshot(bundle, _REF, "Checkpoint\n", "ado")
            meta = self._meta(session_state, snapshot)
            await asyncio.to_thread(_pack, archive, meta, bundle, session)
            size = (await asyncio.to_thread(archive.stat)).st_size
            await self._files.send(archive, "checkpoint", {"commit": snapshot.commit, "session": session_state.session})
        except (GitError, CallError, OSError, ValueError) as error:
            self._say(f"no checkpoint could be saved: {error}")
        else:
            event = {"type": "checkpoint", "commit": snapshot.commit, "session": session_state.session, "bytes": size}
            self._outbox.put({name: value for name, value in event.items() if value is not None})

    def _meta(self, session_state: SessionState, snapshot: TreeSnapshot) -> dict[str, Any]:
        return {
            "attempt": self._attempt,
            "session": session_state.session,
            "reported": dict(session_state.reported),
            "changes": {"files": snapshot.files, "added": snapshot.added, "removed": snapshot.removed},
        }

    def _say(self, message: str) -> None:
        _log.warning("checkpoint failed", extra={"detail": message})
        if message not in self._said:
            self._said.add(message)
            self._outbox.put({"type": "progress", "message": message})


def _session(session_state: SessionState, home: Path) -> dict[str, bytes]:
    """Read a session's files; links and what is not a file are left out. Raises ValueError when they are too large."""
    found: dict[str, bytes] = {}
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
            found[path.relative_to(home).as_posix()] = data
        if total > _SESSION_BYTES:
            raise ValueError(f"the session's files are larger than {_SESSION_BYTES} bytes")
    return found


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


class _BoundedArchive(io.RawIOBase):
    """An archive's content as it is unpacked: so many bytes in all, and never many at once.

    The reader of archives takes what a header announces into memory, whatever its size.
    """

    def __init__(self, source: gzip.GzipFile, most: int) -> None:
        self._source = source
        self._most = most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _META_BYTES or self._source.tell() + size > self._most:
            raise ValueError("the checkpoint cannot be read")
        return self._source.read(size)


def unpack(archive: Path, attempt_dir: AttemptDirectory, limit: int) -> Checkpoint:
    """Lay a checkpoint's files out: the session's into HOME if the path is the same. Raises ValueError, OSError."""
    tree = attempt_dir.base / "restored.bundle"
    most = limit + _SESSION_BYTES + _META_BYTES
    try:
        with gzip.open(archive) as packed, tarfile.open(fileobj=_BoundedArchive(packed, most), mode="r:") as tar:
            meta = _unpack(tar, tree, attempt_dir)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, RecursionError) as error:
        raise ValueError("the checkpoint cannot be read") from error
    return _saved(meta, tree if tree.exists() and tree.stat().st_size else None, stable=attempt_dir.stable)


def _unpack(tar: tarfile.TarFile, tree: Path, attempt_dir: AttemptDirectory) -> Any:
    """Write an archive's files; return what it says of itself."""
    meta: Any = None
    for info in tar:
        content = tar.extractfile(info) if info.isreg() and not info.issparse() else None
        if content is None:
            raise ValueError("the checkpoint cannot be read")
        if info.name == "meta.json":
            meta = json.loads(content.read(_META_BYTES))
        elif info.name == "tree.bundle":
            with tree.open("wb") as file:
                shutil.copyfileobj(content, file)
        elif attempt_dir.stable:
            _restore(attempt_dir.home, info.name, content)
    return meta


def _saved(meta: Any, tree: Path | None, *, stable: bool) -> Checkpoint:
    """Return what a checkpoint says of itself. Raises ValueError for what no worker writes."""
    if not isinstance(meta, dict):
        raise ValueError("the checkpoint does not describe itself")
    attempt, session, reported, changes = (meta.get(key) for key in ("attempt", "session", "reported", "changes"))
    named = session is None or (isinstance(session, str) and SESSION_NAME.fullmatch(session))
    counts = isinstance(changes, dict) and all(type(changes.get(key)) is int for key in ("files", "added", "removed"))
    sums = isinstance(reported, dict) and all(isinstance(value, int | float) for value in reported.values())
    if type(attempt) is not int or not (named and counts and sums):
        raise ValueError("the checkpoint does not describe itself")
    assert isinstance(reported, dict)
    assert isinstance(changes, dict)
    return Checkpoint(attempt, tree, session if stable else None, reported, changes)


def _restore(home: Path, name: str, content: IO[bytes]) -> None:
    parts = PurePosixPath(name).parts
    if len(parts) < 2 or parts[0] != "home" or ".." in parts:
        raise ValueError("the checkpoint names a path that it may not")
    target = home.joinpath(*parts[1:])
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
        shutil.copyfileobj(content, file)
    target.chmod(0o600)


def resumed(agent: Agent, run: Run, saved: Checkpoint) -> Run:
    """Return the run that goes on from a checkpoint.

    Where the session's files are not there, a new session is told what was done: resuming would fail the task.
    """
    if saved.session and not agent.session_files(run.home, saved.session):
        saved = replace(saved, session=None)
    converses = agent.reader(run) is not None
    prompt = saved.prompt(run.prompt, converses=converses)
    anew = replace(saved, session=None).prompt(run.prompt, converses=converses)
    return replace(run, prompt=prompt, anew=anew, session=saved.session, reported=saved.reported)
