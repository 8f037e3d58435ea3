"""Deletes the directories of ended attempts, one after the other in a thread, so no attempt waits for it.

A directory is renamed first, because the next attempt of the job needs its path. It stays locked until it is deleted,
because another worker must not delete it too. The next worker deletes what a worker leaves when it ends. What is worth
keeping is rescued from a directory before it is deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import secrets
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from app.core.programs import search_path

_log = logging.getLogger("ado.worker")


class RemovalQueue:
    """Waiting deletions, and the thread that runs them."""

    def __init__(self, rescue: Callable[[Path], None] = lambda base: None) -> None:
        self._rescue = rescue
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def discard(self, base: Path, lock: int) -> None:
        """Rename a locked directory, and delete it later; then ``lock`` is closed."""
        target = base.with_name(f"{base.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):  # then it is deleted under its own name
            base = base.rename(target)

        def delete() -> None:
            try:
                self.remove(base)
            finally:
                os.close(lock)

        self.submit(delete)

    def remove(self, base: Path) -> None:
        """Delete a locked directory now. Blocks; raises OSError."""
        self._rescue(base)
        remove(base)

    def submit(self, work: Callable[[], None]) -> None:
        """Run ``work`` in the thread, after everything that waits."""
        self._waiting.put(work)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="removals", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until everything submitted before is done; return False if it takes longer. Blocks."""
        done = threading.Event()
        self.submit(done.set)
        return done.wait(seconds)

    def _run(self) -> None:
        while True:
            work = self._waiting.get()
            try:
                work()
            except OSError as error:
                _log.warning("directory not deleted", extra={"detail": str(error)})


@contextlib.asynccontextmanager
async def temporary_directory(parent: Path, prefix: str) -> AsyncIterator[Path]:
    """Make a directory; delete it after the block, in a thread, because a repository may have many files."""
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield directory
    finally:
        with contextlib.suppress(OSError):  # then it is deleted with its parent
            await asyncio.to_thread(remove, directory)


def remove(path: Path) -> None:
    """Delete a tree with its read-only directories; log what cannot be deleted. Blocks; raises OSError.

    rm does it, because it needs no interpreter lock and deletes trees of any depth.
    """
    tree = ("--", str(path))
    if _run("rm", "-rf", *tree) and (_run("chmod", "-R", "u+rwX", *tree) or _run("rm", "-rf", *tree)):
        _log.warning("directory not deleted", extra={"path": str(path)})


def _run(*command: str) -> int:
    null = subprocess.DEVNULL
    env = {"PATH": search_path()}
    return subprocess.run(command, stdin=null, stdout=null, stderr=null, env=env, check=False).returncode
