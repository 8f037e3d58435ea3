"""A control group for each attempt, if a subtree is delegated to the worker: one write kills all processes in it.

https://docs.kernel.org/admin-guide/cgroup-v2.html describes ``cgroup.kill`` and ``cgroup.events``, and
https://systemd.io/CGROUP_DELEGATION describes who owns which groups.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path

_MOUNTS, _OWN = Path("/proc/self/mountinfo"), Path("/proc/self/cgroup")
_SYSTEMD = Path("/run/systemd/system")
_DELEGATED = ("user.delegate", "trusted.delegate")
_ENTER = 'echo $$ >"$0" && exec "$@"'
_END_SECONDS = 10.0  # a killed process that waits for a disk ends late
_PAUSE_SECONDS = 0.01
_numbers = itertools.count(1)


class Cgroup:
    """The group of one attempt."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, parent: Path) -> Cgroup:
        """Make a group below ``parent``. Raises OSError."""
        path = parent / f"ado-{os.getpid()}-{next(_numbers)}"
        path.mkdir()
        return cls(path)

    @property
    def prefix(self) -> tuple[str, ...]:
        """The command that moves itself into the group and then runs the command appended to it."""
        return "/bin/sh", "-c", _ENTER, str(self.path / "cgroup.procs")

    def end(self) -> None:
        """Kill the group's processes and remove it. Blocks until the last process has ended, at most 10 s."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.kill").write_text("1")
            deadline = time.monotonic() + _END_SECONDS
            while "populated 1" in (self.path / "cgroup.events").read_text() and time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
        for group in [*_below(self.path), self.path]:  # a job of root may have made groups below it
            with contextlib.suppress(OSError):
                group.rmdir()


def delegated() -> Path | None:
    """Return the worker's own group if it may make groups below it, else None."""
    path = _own_group()
    if path is None or (_SYSTEMD.exists() and not _is_delegated(path)):
        return None
    try:
        probe = Cgroup.make(path)
    except OSError:
        return None
    can_kill = (probe.path / "cgroup.kill").exists()  # Linux 5.14
    probe.end()
    return path if can_kill else None


def _own_group() -> Path | None:
    """Return the directory of this process's group, None without a cgroup v2."""
    with contextlib.suppress(OSError):
        mounts = [line.split() for line in _MOUNTS.read_text().splitlines() if " - cgroup2 " in line]
        groups = [line.removeprefix("0::") for line in _OWN.read_text().splitlines() if line.startswith("0::")]
        if mounts and groups:
            return Path(mounts[0][4]) / groups[0].lstrip("/")
    return None


def _is_delegated(path: Path) -> bool:
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    return False


def _below(path: Path) -> list[Path]:
    """Return the groups below one, the deepest first."""
    return sorted((Path(root) for root, _, _ in os.walk(path) if root != str(path)), reverse=True)
