"""The directory and environment of a job: its own, empty, and gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt runs."""

    directory: Path
    home: Path


@contextlib.contextmanager
def place(work_dir: str, name: str) -> Iterator[Place]:
    """Make directory and HOME for an attempt and remove them at the end."""
    root = Path(work_dir)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    base = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root))
    try:
        for part in ("job", "home", "tmp"):
            (base / part).mkdir()
        yield Place(base / "job", base / "home")
    finally:
        shutil.rmtree(base, ignore_errors=True)


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
    env.update(TERM="dumb", HOME=str(where.home), TMPDIR=str(where.home.parent / "tmp"))
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
