"""The directory and environment of a job. The directory has the same path in every attempt, and is removed after it.

An agent finds its session only under the path where the session began, so the path depends only on the job. Every
process of an attempt holds a lock on its directory. A later attempt on the same machine waits for the lock, and gets
another path if that takes too long. What a killed worker leaves is renamed when the next attempt of the job starts, and
deleted when the next worker on the machine starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.private_files import ensure_directory
from worker.machine_health import PROBE, MachineUnfit, describe_error
from worker.processes.removal import RemovalQueue
from worker.sandbox.base import JOB_PARTS

FILE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that jobs inherit from the worker and that name files."""
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", *FILE_VARIABLES)
_WITHOUT_A_TERMINAL = {
    "PYTHONUNBUFFERED": "1",  # a person watches; Python buffers 8 KiB when it writes to a pipe
    "GIT_TERMINAL_PROMPT": "0",  # nobody can answer a prompt
    "DEBIAN_FRONTEND": "noninteractive",
    "CI": "true",
}
_PATIENCE_SECONDS = 10.0
_NAME = re.compile(rf"(task-\d+-\d+(-[0-9a-f]{{8}})?(\.[0-9a-f]{{8}})?|{PROBE}[0-9a-f]{{8}})")


@dataclass(frozen=True, slots=True)
class AttemptDirectory:
    """The directories of an attempt; ``lock`` is the file descriptor that its processes inherit."""

    base: Path
    lock: int
    stable: bool
    """Whether this is the path that all attempts of the job share."""

    @property
    def job_dir(self) -> Path:
        """The directory of the job's files, where the agent starts."""
        return self.base / "job"

    @property
    def home(self) -> Path:
        """The agent's HOME."""
        return self.base / "home"


@contextlib.asynccontextmanager
async def attempt_directory(work_dir: str, name: str, removals: RemovalQueue) -> AsyncIterator[AttemptDirectory]:
    """Make the directories of an attempt; they are removed after the block. Raises MachineUnfit."""
    try:
        base, lock = await _claim(Path(work_dir), name, removals)
    except OSError as error:
        raise MachineUnfit(f"it cannot make a job's directory: {describe_error(error)}") from error
    try:
        yield AttemptDirectory(base, lock, base.name == name)
    finally:
        removals.discard(base, lock)


async def _claim(root: Path, name: str, removals: RemovalQueue) -> tuple[Path, int]:
    """Return a new directory with its parts, and its lock. Raises OSError."""
    base = root / name
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        lock = _lock(base)
        if lock is None:
            if time.monotonic() > deadline or _is_foreign(base):
                base = root / f"{name}-{secrets.token_hex(4)}"
            await asyncio.sleep(0.05)
        elif _is_empty(base):
            break
        else:
            removals.discard(base, lock)
    try:
        for part in JOB_PARTS:
            (base / part).mkdir(mode=0o700)
    except OSError:
        removals.discard(base, lock)
        raise
    return base, lock


def _is_empty(base: Path) -> bool:
    with os.scandir(base) as entries:
        return next(entries, None) is None


def _is_foreign(base: Path) -> bool:
    """Whether another user owns this path, or it is no directory: several users may share a work directory."""
    try:
        status = base.lstat()
    except FileNotFoundError:
        return False
    return status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode)


def _lock(base: Path) -> int | None:
    """Make and lock a directory of this user; None if another process or user has it."""
    ensure_directory(base.parent)
    with contextlib.suppress(FileExistsError):
        base.mkdir(mode=0o700)
    if _is_foreign(base):
        return None
    try:
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):  # replaced since it was checked
            return None
        raise
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(fd)
        if status.st_uid == os.geteuid() and os.path.samestat(status, base.lstat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)  # locked by another attempt, or removed by its last owner meanwhile
    return None


def sweep(work_dir: str, removals: RemovalQueue) -> None:
    """Delete what killed workers have left; locked directories are in use and stay. Blocks; raises OSError."""
    root = Path(work_dir)
    if not root.is_dir():
        return
    for base in [Path(entry.path) for entry in os.scandir(root) if _NAME.fullmatch(entry.name)]:
        if base.is_dir() and not _is_foreign(base) and (lock := _lock(base)) is not None:
            try:
                removals.remove(base)
            finally:
                os.close(lock)


def environment(
    job: Mapping[str, Any],
    attempt_dir: AttemptDirectory,
    worker_id: str,
    given: Mapping[str, str] | None = None,
    *,
    urls: Sequence[str] = (),
) -> dict[str, str]:
    """Return an agent's environment: variables of the worker, ``given``, the task's, and the job's ADO_* variables.

    The command ``ado`` is last on PATH, so ``ado kv`` works in a job, with the job's own token.
    """
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    env.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    env.setdefault("LANG", "C.UTF-8")
    env.update(_WITHOUT_A_TERMINAL)
    env.update(TERM="dumb", HOME=str(attempt_dir.home), TMPDIR=str(attempt_dir.base / "tmp"))
    env.update(given or {})
    env.update(job.get("env") or {})
    env["PATH"] += f"{os.pathsep}{Path(sys.executable).parent}"
    env.update(
        ADO_URL=",".join(urls),
        ADO_TOKEN=job.get("token", ""),
        ADO_TASK_ID=job["taskId"],
        ADO_JOB_ID=job["jobId"],
        ADO_JOB_INDEX=str(job["job"]),
        ADO_WORKER_COUNT=str(job["workers"]),
        ADO_ATTEMPT=str(job["attempt"]),
        ADO_WORKER_ID=worker_id,
    )
    return env
