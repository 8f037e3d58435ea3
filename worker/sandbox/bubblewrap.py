"""The sandbox ``bubblewrap``: namespaces of users, mounts, processes, IPC and host name, made by the program bwrap.

A job sees the system read-only, its own directories, and no other files or processes of the machine. The keeper is
process 1 of the namespace: the job cannot stop or kill it by a signal, and when it ends the kernel kills all others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from app.core.capabilities import NO_NETWORK
from worker.sandbox.base import JOB_PARTS, JOB_SOCKETS, SandboxedStart, SandboxUnavailable
from worker.sandbox.view import masked, private, readable

_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts")
_PRIVILEGES = ("--die-with-parent", "--as-pid-1", "--cap-drop", "ALL")
_READ_ONLY_PARTS = ("store", *JOB_SOCKETS)
"""Parts of an attempt's directory that the job may only read: the repository's objects, and sockets."""
_GPUS = ("nvidia*", "dri", "kfd")
_PROBE_SECONDS = 30.0
_INSTALL = "install it (Debian, Ubuntu, Fedora: the package bubblewrap), or set ADO_SANDBOX=none"
_ALLOW = (
    "allow user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu), or set ADO_SANDBOX=none"
)


class BubblewrapSandbox:
    """Confines attempts by bwrap."""

    name = "bubblewrap"
    why = ""

    def __init__(self, program: str, hidden: Iterable[str], read: Iterable[str], *, gpu: bool) -> None:
        self._program = program
        self._hidden = (*hidden, *(private("/etc") if os.geteuid() == 0 else ()))  # jobs of root could read them
        self._read = tuple(read)
        self._devices = [str(path) for pattern in _GPUS for path in Path("/dev").glob(pattern)] if gpu else []
        self.capabilities: tuple[str, ...] = ()

    @classmethod
    def detect(cls, hidden: Iterable[str] = (), read: Iterable[str] = (), *, gpu: bool = False) -> BubblewrapSandbox:
        """Return a tested sandbox. Raises SandboxUnavailable."""
        program = shutil.which("bwrap")
        if program is None:
            raise SandboxUnavailable("bwrap is not on PATH", _INSTALL)
        sandbox = cls(program, hidden, read, gpu=gpu)
        if problem := sandbox._try(network=True):
            raise SandboxUnavailable(f"bwrap does not work here: {problem}", _ALLOW)
        if not sandbox._try(network=False):
            sandbox.capabilities = (NO_NETWORK,)
        return sandbox

    def enclose(self, base: Path, start: Path, also: Iterable[str], *, network: bool) -> SandboxedStart:
        """Return a command with new namespaces; without ``network`` there is only a loopback interface."""
        names = [*_NAMESPACES, *(() if network else ("--unshare-net",)), *_PRIVILEGES]
        return SandboxedStart((self._program, *names, *self._mounts(base, also), "--chdir", str(start), "--"))

    def _mounts(self, base: Path, also: Iterable[str]) -> list[str]:
        # /proc/sys read-only: root may write kernel settings, and one of them names a program that the kernel runs
        words = ["--dev", "/dev", "--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]
        for device in self._devices:
            words += ["--dev-bind-try", device, device]
        for place in ("/tmp", "/var/tmp"):  # noqa: S108 - the job's own directory, on its disk and not in memory
            words += ["--bind", str(base / "tmp"), place]
        shown = readable(os.environ.get("PATH", os.defpath), [*self._read, *also], Path.home())
        for path in shown:
            words += ["--ro-bind-try", path, path]
        for path in masked(shown, self._hidden):
            words += ["--tmpfs", path] if Path(path).is_dir() else ["--ro-bind", os.devnull, path]
        for part in _READ_ONLY_PARTS:
            words += ["--ro-bind-try", str(base / part), str(base / part)]
        for part in JOB_PARTS:
            words += ["--bind", str(base / part), str(base / part)]
        return [*words, "--remount-ro", "/"]

    def _try(self, *, network: bool) -> str:
        """Run a process in the sandbox; return its error, empty if it works. Blocks."""
        with tempfile.TemporaryDirectory(prefix="ado-probe-") as name:
            base = Path(name)
            for part in JOB_PARTS:
                (base / part).mkdir()
            command = [
                *self.enclose(base, base / "job", (), network=network).prefix,
                sys.executable,
                "-I",
                "-S",
                "-c",
                "",
            ]
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return str(error)
        errors = done.stderr.decode("utf-8", "replace").strip()[-300:]
        return (errors or f"it ended with {done.returncode}") if done.returncode else ""
