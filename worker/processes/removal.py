"""Deleting the directories of ended attempts, one after the other and in a thread, so that nobody waits for it.

A directory is renamed first, so that the next attempt of its job finds the path free. It stays locked until it is gone,
so that no other worker deletes it as well. What a worker leaves when it ends is deleted by the sweep of the next one.
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
    """The deletions that wait, and the thread that makes them."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def discard(self, base: Path, lock: int) -> None:
        """Take a locked directory out of the way and delete it later; ``lock`` is closed then."""
        target = base.with_name(f"{base.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):  # it is deleted under its own name then
            base = base.rename(target)

        def delete() -> None:
            try:
                remove(base)
            finally:
                os.close(lock)

        self.soon(delete)

    def soon(self, work: Callable[[], None]) -> None:
        """Do something in the thread, after what waits already."""
        self._waiting.put(work)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="removals", daemon=True)
            self._thread.start()

    def finish(self, seconds: float) -> bool:
        """Wait until what waits now is done; return whether it is. Blocks."""
        done = threading.Event()
        self.soon(done.set)
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
    """Make a directory and delete it at the end, in a thread: a repository may have any number of files."""
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield place
    finally:
        with contextlib.suppress(OSError):  # it goes with its parent then
            await asyncio.to_thread(remove, place)


def remove(path: Path) -> None:
    """Delete a tree, read-only directories included; what cannot go stays. Blocks; raises OSError.

    A program of its own does it: it needs no interpreter lock, and takes trees of any depth.
    """
    tree = ("--", str(path))
    if _run("rm", "-rf", *tree) and (_run("chmod", "-R", "u+rwX", *tree) or _run("rm", "-rf", *tree)):
        _log.warning("directory not deleted", extra={"path": str(path)})


def _run(*command: str) -> int:
    null = subprocess.DEVNULL
    env = {"PATH": search_path()}
    return subprocess.run(command, stdin=null, stdout=null, stderr=null, env=env, check=False).returncode
