"""Whether this machine can run jobs; if not, the worker releases its jobs and claims none until a probe succeeds.

States: fit, and unfit with a reason. A job that cannot get its directory, its process or its memory reports the reason.
The probe then does what the start of a job needs, with growing pauses. So a worker on a machine whose ports are all in
use claims nothing until some are free.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.core.private_files import ensure_directory
from app.rpc.backoff import Backoff
from worker.ports import reserved

_log = logging.getLogger("ado.worker")
PROBE = "probe-"
"""The prefix of the directories that probes make."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_PROBE_BYTES = 64 * 1024
_PROBE_FDS = 24
_PROBE_SECONDS = 30.0


class MachineUnfit(Exception):
    """This machine cannot run jobs at present; the message says why."""


class MachineHealth:
    """The state of one worker's machine; ``problem`` is why it takes no jobs, None if it takes them."""

    def __init__(self, work_dir: str, ports: Sequence[int] = ()) -> None:
        self._work_dir = work_dir
        self._ports = list(ports)
        """The first ports of the ranges of which each job gets one."""
        self._fit, self._unfit = asyncio.Event(), asyncio.Event()
        self._fit.set()
        self.problem: str | None = None

    def report(self, problem: str) -> None:
        """Note that a job could not run."""
        if self.problem is None:
            _log.error("this machine cannot run jobs", extra={"detail": problem})
        self.problem = problem
        self._fit.clear()
        self._unfit.set()

    async def wait_until_fit(self) -> None:
        """Wait until the machine is fit."""
        await self._fit.wait()

    async def watch(self) -> None:
        """Probe an unfit machine until it is fit, for ever.

        This is a task of its own, because a claim may wait at the server for 20 s meanwhile. If it is cancelled, the
        next one goes on: a worker that registers again claims nothing and reports nothing until then.
        """
        while True:
            await self._unfit.wait()
            backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE, jitter=0)
            while self.problem is not None:
                await asyncio.sleep(backoff.next())
                try:
                    await asyncio.to_thread(probe, self._work_dir)
                    await asyncio.to_thread(_probe_ports, self._ports)
                except OSError as error:
                    self.problem = describe_error(error)
                else:
                    _log.info("this machine can run jobs again")
                    self.problem = None
            self._unfit.clear()
            self._fit.set()

    async def check(self) -> None:
        """Probe the machine after a failure. Raises MachineUnfit if it was the cause."""
        try:
            await asyncio.to_thread(probe, self._work_dir)
        except OSError as error:
            raise MachineUnfit(describe_error(error)) from error


def describe_error(error: OSError) -> str:
    """Return an error's text and its file, for a person."""
    file = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{file}"


def probe(work_dir: str) -> None:
    """Do what the start of a job needs: a directory, a file, descriptors, a process. Blocks; raises OSError."""
    root = Path(work_dir)
    ensure_directory(root)
    directory = root / f"{PROBE}{secrets.token_hex(4)}"
    directory.mkdir(mode=0o700)
    try:
        (directory / "file").write_bytes(bytes(_PROBE_BYTES))
        with contextlib.ExitStack() as opened:
            for _ in range(_PROBE_FDS):
                opened.callback(os.close, os.open(directory, os.O_RDONLY))
        with tempfile.TemporaryFile() as file:  # a prompt is passed to its agent in such a file
            file.write(bytes(_PROBE_BYTES))
        command = [sys.executable, "-I", "-S", "-c", "import os; os.waitpid(os.fork() or os._exit(0), 0)"]
        _run(command, directory)
    finally:
        with contextlib.suppress(OSError):
            (directory / "file").unlink(missing_ok=True)
            directory.rmdir()


def _probe_ports(ports: list[int]) -> None:
    """Reserve ports for a moment, as a job does. Raises OSError if none are free."""
    if ports:
        with reserved(ports):
            pass


def _run(command: list[str], directory: Path) -> None:
    null = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, cwd=directory, env={}, stdin=null, stdout=null, stderr=null, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(None, f"a process took longer than {_PROBE_SECONDS:.0f} s to start and end") from error
    if done.returncode:
        raise OSError(None, f"a process that was started for a try ended with {done.returncode}")
