"""Caches of package managers that outlive a job: each copy is moved into one job at a time.

A job takes a copy out of ``ADO_CACHE_DIR`` by a rename into its HOME, so no two jobs ever share one. A job that finds
no copy begins an empty one. After its end the copy moves back. The copies of a killed worker's jobs move back before
their directories are deleted (``rescue``), and a file in each directory names the scope for that. A kept copy's name
holds its scope, its cache and its size in bytes, so nothing else is recorded about it.

The job may have put anything into its copy. The worker opens no file of it, follows no link, and throws away a copy
that has hard links, devices or pipes: a change of its owner could otherwise reach files elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.caches import CACHES
from app.core.private_files import ensure_directory
from worker.processes.removal import remove
from worker.sandbox.base import HOME

_log = logging.getLogger("ado.worker")
_HOME_DIRECTORY = ".caches"
_SCOPE_FILE = "cache-scope"
_NAME = re.compile(r"([0-9a-f]{32})\.([a-z]+)\.(\d{1,19})\.[0-9a-f]{16}")
_SCOPE = re.compile(r"[0-9a-f]{32}")
_INCOMING, _REMOVED = "arrived.", "removed."
_MOST_ENTRIES = 1_000_000
_MOST_COPIES = 64
_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class CacheDirectory:
    """The copies that no job has at present."""

    path: Path
    limit: int
    """Bytes that they may have together."""

    def move_in(self, scope: str, names: Sequence[str], home: Path) -> dict[str, str]:
        """Move copies into ``home``; return the variables for their programs. Blocks; raises OSError."""
        if not _SCOPE.fullmatch(scope):
            return {}
        ensure_directory(self.path)
        (home.parent / _SCOPE_FILE).write_text(scope, "ascii")
        directory = home / _HOME_DIRECTORY
        directory.mkdir(mode=0o700)
        env: dict[str, str] = {}
        for name in sorted(set(names) & CACHES.keys()):
            self._take(scope, name, directory / name)
            env |= {variable: value or str(directory / name) for variable, value in CACHES[name].items()}
        return env

    def _take(self, scope: str, name: str, target: Path) -> None:
        """Move the newest copy of a scope to ``target``; make an empty one if there is none."""
        for copy in reversed(self._copies()):
            match = _NAME.fullmatch(copy.name)
            if match and match[1] == scope and match[2] == name:
                with contextlib.suppress(FileNotFoundError):  # another job was faster
                    copy.rename(target)
                    return
        target.mkdir(mode=0o700)

    def move_back(self, scope: str, home: Path) -> None:
        """Move the copies back, once all processes of the job have ended, and delete old ones. Blocks."""
        try:
            directory = os.open(home / _HOME_DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            return  # the job removed it, or put something else in its place
        try:
            with self._locked():
                for name in CACHES:
                    with contextlib.suppress(FileNotFoundError):
                        self._store(scope, name, directory)
                self._evict()
            for entry in self.path.glob(f"{_REMOVED}*"):
                remove(entry)
        except OSError as error:
            _log.warning("a cache was not kept", extra={"detail": str(error)})
        finally:
            os.close(directory)

    def rescue(self, base: Path) -> None:
        """Move the copies back that are still in an attempt's directory, which no process uses. Blocks."""
        with contextlib.suppress(OSError, ValueError):
            scope = (base / _SCOPE_FILE).read_text("ascii")
            if _SCOPE.fullmatch(scope):
                self.move_back(scope, base / HOME)

    def _store(self, scope: str, name: str, directory: int) -> None:
        """Move one copy back, unless it holds what no cache needs. It counts once it has its name."""
        moved = self.path / f"{_INCOMING}{secrets.token_hex(8)}"
        os.rename(name, moved, src_dir_fd=directory)
        size = _size_of(moved)
        if size is None or size > self.limit:
            _log.warning("a cache was thrown away", extra={"cache": name, "bytes": size})
            return
        os.utime(moved)
        moved.rename(self.path / f"{scope}.{name}.{size}.{secrets.token_hex(8)}")

    def _evict(self) -> None:
        """Mark for deletion the oldest copies until the others are few and small enough, and what was not kept."""
        copies, total = self._copies(), 0
        for number, copy in enumerate(reversed(copies)):
            match = _NAME.fullmatch(copy.name)
            total += int(match[3]) if match else 0
            if total > self.limit or number >= _MOST_COPIES:
                with contextlib.suppress(FileNotFoundError):  # a job has taken it
                    copy.rename(self._removed_name())
        for entry in self.path.glob(f"{_INCOMING}*"):
            entry.rename(self._removed_name())

    def _removed_name(self) -> Path:
        return self.path / f"{_REMOVED}{secrets.token_hex(8)}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep others from moving copies back: ``_evict`` would remove a copy that another job is just storing."""
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _copies(self) -> list[Path]:
        """Return the copies, the oldest first."""
        dated = []
        with os.scandir(self.path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                        dated.append((entry.stat(follow_symlinks=False).st_mtime, entry.name))
        return [self.path / name for _, name in sorted(dated)]


def _size_of(top: Path) -> int | None:
    """Return the bytes of a tree of plain files, directories and links; None for any other. Raises OSError."""
    if not stat.S_ISDIR(top.lstat().st_mode):
        return None
    size = 0
    for number, status in enumerate(_walk(str(top))):
        mode = status.st_mode
        is_plain = stat.S_ISDIR(mode) or stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and status.st_nlink == 1)
        if not is_plain or number >= _MOST_ENTRIES:
            return None
        size += status.st_blocks * _BLOCK_BYTES
    return size


def _walk(top: str) -> Iterator[os.stat_result]:
    """Yield the status of everything below a directory; no link is followed."""
    waiting = [top]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(entry.path)
                yield status
