"""The directory and environment of a job: its own, at the same path in every attempt, and gone afterwards.

An agent finds its session again only under the path where it began, so the path depends on the job alone. A lock on
the directory, held by every process of the attempt, keeps a later attempt on the same machine out until nothing of
the earlier one is left; if that takes too long the later one gets another path. What a killed worker left behind is
taken out of the way when the next attempt of the job comes, and deleted when the next worker on the machine starts.
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
from worker.fitness import PROBE, MachineUnfit, describe_error
from worker.processes.removal import RemovalQueue, remove

FILE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of the worker's environment that name files and that jobs inherit."""
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", *FILE_VARIABLES)
_WITHOUT_A_TERMINAL = {
    "PYTHONUNBUFFERED": "1",  # a person watches; a pipe would hold lines back until 8 KiB are together
    "GIT_TERMINAL_PROMPT": "0",  # nobody is there to be asked
    "DEBIAN_FRONTEND": "noninteractive",
    "CI": "true",
}
_PATIENCE_SECONDS = 10.0
_NAME = re.compile(rf"(task-\d+-\d+(-[0-9a-f]{{8}})?(\.[0-9a-f]{{8}})?|{PROBE}[0-9a-f]{{8}})")


@dataclass(frozen=True, slots=True)
class AttemptDirectory:
    """Where an attempt runs; ``lock`` is the file descriptor that its processes inherit."""

    base: Path
    lock: int
    stable: bool
    """Whether this is the path that every attempt of the job has."""

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
    """Make directory and HOME for an attempt, and leave them to ``removals`` at the end. Raises MachineUnfit."""
    try:
        base, lock = await _claim(Path(work_dir), name, removals)
    except OSError as error:
        raise MachineUnfit(f"it cannot make a job's directory: {describe_error(error)}") from error
    try:
        yield AttemptDirectory(base, lock, base.name == name)
    finally:
        removals.discard(base, lock)


async def _claim(root: Path, name: str, removals: RemovalQueue) -> tuple[Path, int]:
    """Return a new directory with what belongs in it, and its lock. Raises OSError."""
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
        for part in ("job", "home", "tmp"):
            (base / part).mkdir(mode=0o700)
    except OSError:
        removals.discard(base, lock)
        raise
    return base, lock


def _is_empty(base: Path) -> bool:
    with os.scandir(base) as entries:
        return next(entries, None) is None


def _is_foreign(base: Path) -> bool:
    """Whether another user made what is in a directory's place: a work directory of root's may be shared."""
    try:
        found = base.lstat()
    except FileNotFoundError:
        return False
    return found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode)


def _lock(base: Path) -> int | None:
    """Lock a directory of this user's own, made if need be; None while somebody else has it."""
    ensure_directory(base.parent)
    with contextlib.suppress(FileExistsError):
        base.mkdir(mode=0o700)
    if _is_foreign(base):
        return None
    try:
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):  # replaced since the look at it
            return None
        raise
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(fd)
        if found.st_uid == os.geteuid() and os.path.samestat(found, base.lstat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)  # locked, or removed by its last owner between our two looks
    return None


def sweep(work_dir: str) -> None:
    """Delete what killed workers left behind; directories in use are locked and stay. Blocks; raises OSError."""
    root = Path(work_dir)
    if not root.is_dir():
        return
    for base in [Path(entry.path) for entry in os.scandir(root) if _NAME.fullmatch(entry.name)]:
        if base.is_dir() and not _is_foreign(base) and (lock := _lock(base)) is not None:
            remove(base)
            os.close(lock)


def environment(
    job: Mapping[str, Any],
    attempt_dir: AttemptDirectory,
    worker_id: str,
    given: Mapping[str, str] | None = None,
    *,
    urls: Sequence[str] = (),
) -> dict[str, str]:
    """Return an agent's environment: a cleared one, what it is given, the task's values, and its job's ADO_* names.

    The command ``ado`` works in it, for ``ado kv``: it is found last on PATH and calls with the job's own token.
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
