"""The sandbox ``uid``: the worker is root, and each running job has a user of its own.

Only that user can access the job's directories. The worker's files and the files and processes of other jobs belong to
other users, so the kernel protects them. The job may read what any user of the machine may read. A worker reserves a
user by a socket in the machine's abstract namespace, which ends with the worker, so two workers never use the same
user. If the worker may make control groups, each attempt has one; its end kills processes that the keeper could not
kill.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.sandbox.base import JOB_PARTS, JOB_SOCKETS, SandboxedStart, SandboxUnavailable
from worker.sandbox.cgroup import Cgroup, delegated

DEFAULT = range(60600, 61184)
"""User ids that neither Debian nor systemd assigns."""
_ENTER = 0o711
_PROBE_SECONDS = 30.0
_RANGE = re.compile(r"(\d{1,10})-(\d{1,10})")
_MOST_USERS = 2**32 - 2


class UidSandbox:
    """Confines attempts by users."""

    name = "uid"
    why = ""
    capabilities: tuple[str, ...] = ()

    def __init__(self, users: range, work_dir: Path, groups: Path | None = None) -> None:
        self._users = users
        self._work_dir = work_dir
        self._groups = groups

    @classmethod
    def detect(cls, users: str, work_dir: str) -> UidSandbox:
        """Return a tested sandbox; ``users`` is a range such as 60600-60699. Raises SandboxUnavailable."""
        if os.geteuid() != 0:
            raise SandboxUnavailable(
                "only a worker that is root can give jobs users of their own", "set ADO_SANDBOX=auto"
            )
        sandbox = cls(parse_range(users), Path(work_dir), delegated())
        sandbox._try()
        return sandbox

    def enclose(self, base: Path, start: Path, also: Iterable[str], *, network: bool) -> SandboxedStart:
        """Reserve a user, and give it the attempt's directories. Raises OSError."""
        if not network:
            raise OSError("this worker cannot run a job without a network: its sandbox is uid")
        with contextlib.ExitStack() as released:
            lock, user = self._take()
            released.callback(lock.close)
            self._give(base, user)
            if self._groups is None:
                return SandboxedStart(user=user, release=released.pop_all().close)
            group = Cgroup.make(self._groups)
            released.callback(group.end)  # kills what is left before another job can get this user
            return SandboxedStart(group.prefix, user, released.pop_all().close)

    def _take(self) -> tuple[socket.socket, int]:
        busy = set(_users_with_processes())
        for user in self._users:
            if user not in busy and (lock := _lock(user)) is not None:
                return lock, user
        raise OSError(errno.EAGAIN, f"no user is free for the job: all {len(self._users)} of ADO_JOB_UIDS are in use")

    def _give(self, base: Path, user: int) -> None:
        """Let a user enter the attempt's directory, and make it the owner of the job's parts."""
        for directory in (self._work_dir, base):
            directory.chmod(_ENTER)
        own = [str(base / part) for part in (*JOB_PARTS, *JOB_SOCKETS)]
        existing = [path for path in own if os.path.lexists(path)]
        # links are not followed: they may come from a checkpoint of an earlier attempt
        subprocess.run(["chown", "-hR", f"{user}:{user}", "--", *existing], check=True, capture_output=True)
        for part in JOB_PARTS:
            (base / part).chmod(0o700)

    def _try(self) -> None:
        """Write a file as a reserved user, below the work directory. Raises SandboxUnavailable."""
        step = "choose an ADO_WORK_DIR that every user can reach, or set ADO_SANDBOX=none"
        try:
            self._work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="probe-", dir=self._work_dir) as name:
                base = Path(name)
                for part in JOB_PARTS:
                    (base / part).mkdir()
                sandboxed = self.enclose(base, base, (), network=True)
                try:
                    _run_as(sandboxed.user or 0, base / "job")
                finally:
                    sandboxed.release()
        except (OSError, subprocess.SubprocessError) as error:
            raise SandboxUnavailable(f"jobs cannot have users of their own here: {error}", step) from error


def parse_range(text: str) -> range:
    """Return the user ids of FIRST-LAST, or the default ones for an empty text. Raises SandboxUnavailable."""
    if not text:
        return DEFAULT
    match = _RANGE.fullmatch(text.strip())
    first, last = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < first <= last <= _MOST_USERS:
        raise SandboxUnavailable(
            f"ADO_JOB_UIDS={text!r} is no range of users", "write it as FIRST-LAST, such as 60600-60699"
        )
    return range(first, last + 1)


def _users_with_processes() -> Iterator[int]:
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    yield entry.stat().st_uid


def _lock(user: int) -> socket.socket | None:
    """Reserve a user; return None if another worker has it."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0ado-job-uid-{user}")
    except OSError:
        lock.close()
        return None
    return lock


def _run_as(user: int, directory: Path) -> None:
    subprocess.run(
        ["/bin/sh", "-c", 'echo > "$0"', str(directory / "file")],
        user=user, group=user, extra_groups=(), stdin=subprocess.DEVNULL, capture_output=True,
        timeout=_PROBE_SECONDS, check=True,
    )  # fmt: skip
