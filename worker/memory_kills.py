"""Whether the kernel killed a process of an attempt because memory ran out, from the counter of the worker's cgroup.

If the first process of a container survives, nothing but ``Killed`` on stderr and exit code 137 shows such a kill. The
kernel counts these kills in the group (``memory.events`` of version 2, ``memory.oom_control`` of version 1), so an
attempt compares the count before and after. Several jobs of one worker share the counter; then only the exit code 137
connects a kill with a job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from worker.agents.verdict import Outcome

_KILLED = 137
_UNLIMITED = 1 << 60
_EXPLAINED = frozenset({"exit_nonzero", "agent_error", "no_result"})
_MOUNT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


class MemoryWatch:
    """Counts the kills in the worker's group since it was made."""

    def __init__(self, *, alone: bool, mount: Path = _MOUNT, membership: Path = _MEMBERSHIP) -> None:
        self._alone = alone
        self._groups = list(_groups(mount, membership))
        self._before = self._kills()

    def explain(self, outcome: Outcome) -> Outcome:
        """Return the outcome, with the reason ``oom_killed`` if memory was the cause."""
        if outcome.outcome != "failed" or outcome.reason not in _EXPLAINED or self._kills() <= self._before:
            return outcome
        if not self._alone and outcome.exit_code != _KILLED:
            return outcome
        limit = self._limit()
        size = f": the limit is {limit / 2**20:.0f} MiB" if limit else ""
        message = f"the kernel killed a process of the job for memory{size}; ask for more with --memory"
        return replace(outcome, reason="oom_killed", message=message)

    def _kills(self) -> int:
        for group in self._groups:
            for name in ("memory.events", "memory.oom_control"):
                words = _read(group / name).split()
                if "oom_kill" in words[:-1]:
                    return _number(words[words.index("oom_kill") + 1])
        return 0

    def _limit(self) -> int:
        limits = [
            _number(_read(group / name)) for group in self._groups for name in ("memory.max", "memory.limit_in_bytes")
        ]
        return min((limit for limit in limits if 0 < limit < _UNLIMITED), default=0)


def _groups(mount: Path, membership: Path) -> Iterator[Path]:
    """Yield the worker's group and the groups above it, as far as they are visible.

    A container sees its own group as the root, whatever path its membership names.
    """
    for line in _read(membership).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            tops = [mount, mount / "unified"]
        elif "memory" in controllers.split(","):
            tops = [mount / "memory"]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for top in tops:
            yield from (top.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1))


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace")
    except OSError:
        return ""


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0
