"""The directory and environment of a job: its own, at the same path in every attempt, and gone afterwards.

An agent finds its session again only under the path where it began, so the path depends on the job alone. A lock on
the directory, held by every process of the attempt, keeps a later attempt on the same machine out until nothing of
the earlier one is left; if that takes too long the later one gets another path. What a killed worker left behind goes
when the next attempt of the job comes, or when the next worker on the machine starts or ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PATIENCE_SECONDS = 10.0
_NAME = re.compile(r"task-\d+-\d+(-[0-9a-f]{8})?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt runs; ``lock`` is the file descriptor that its processes inherit."""

    base: Path
    lock: int
    stable: bool
    """Whether this is the path that every attempt of the job has."""

    @property
    def directory(self) -> Path:
        """The agent's working directory."""
        return self.base / "job"

    @property
    def home(self) -> Path:
        """The agent's HOME."""
        return self.base / "home"


@contextlib.asynccontextmanager
async def place(work_dir: str, name: str) -> AsyncIterator[Place]:
    """Make directory and HOME for an attempt and remove them at the end."""
    root = Path(work_dir)
    base, stable = root / name, True
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (lock := _lock(base)) is None:
        if time.monotonic() > deadline:
            base, stable = root / f"{name}-{secrets.token_hex(4)}", False
        await asyncio.sleep(0.05)
    try:
        await asyncio.to_thread(_empty, base)
        for part in ("job", "home", "tmp"):
            (base / part).mkdir()
        yield Place(base, lock, stable)
    finally:
        await asyncio.to_thread(remove, base)
        os.close(lock)


def _lock(base: Path) -> int | None:
    """Lock a directory, made if need be; None while somebody else has it."""
    base.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        base.mkdir(mode=0o700)
    try:
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), base.lstat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)  # locked, or removed by its last owner between our two looks
    return None


def _empty(base: Path) -> None:
    for entry in os.scandir(base):
        remove(Path(entry.path))


def remove(path: Path) -> None:
    """Remove a tree, read-only directories included; what cannot go stays."""

    def force(function: Callable[[str], Any], name: str, _: object) -> None:
        with contextlib.suppress(OSError):
            Path(name).parent.chmod(stat.S_IRWXU)
            if function in (os.open, os.scandir, os.lstat):
                Path(name).chmod(stat.S_IRWXU)
                shutil.rmtree(name, ignore_errors=True)
            else:
                function(name)

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=force)
    else:
        path.unlink(missing_ok=True)


def sweep(work_dir: str) -> None:
    """Remove what killed workers left behind; directories in use are locked and stay."""
    root = Path(work_dir)
    if not root.is_dir():
        return
    for base in [Path(entry.path) for entry in os.scandir(root) if _NAME.fullmatch(entry.name)]:
        if base.is_dir() and (lock := _lock(base)) is not None:
            remove(base)
            os.close(lock)


def environment(
    job: Mapping[str, Any],
    where: Place,
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
    env.update(TERM="dumb", HOME=str(where.home), TMPDIR=str(where.base / "tmp"))
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
