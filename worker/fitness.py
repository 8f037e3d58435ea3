"""Whether this machine can run jobs: a worker that cannot hands its jobs back and claims none until a probe succeeds.

States: fit, and unfit with a reason. A job that could not get its directory, its process or its memory reports the
reason; the probe does what such a start needs, with a pause that grows from one try to the next.
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
from pathlib import Path

from app.core.private_files import ensure_directory

_log = logging.getLogger("ado.worker")
PROBE = "probe-"
"""How the names of directories begin that are made for a try."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_PROBE_BYTES = 64 * 1024
_PROBE_FDS = 24
_PROBE_SECONDS = 30.0


class MachineUnfit(Exception):
    """This machine cannot run jobs for the moment; the message says why."""


class Fitness:
    """What is known of one worker's machine; ``problem`` is the reason why it takes no jobs, None while it does."""

    def __init__(self, work_dir: str) -> None:
        self._work_dir = work_dir
        self._fit, self._unfit = asyncio.Event(), asyncio.Event()
        self._fit.set()
        self.problem: str | None = None

    def report(self, problem: str) -> None:
        """Say that a job could not be run."""
        if self.problem is None:
            _log.error("this machine cannot run jobs", extra={"detail": problem})
        self.problem = problem
        self._fit.clear()
        self._unfit.set()

    async def wait_until_fit(self) -> None:
        """Wait until the machine is fit; at once where it is."""
        await self._fit.wait()

    async def watch(self) -> None:
        """Probe an unfit machine until it is fit, for ever.

        This is a task of its own: a claim that waits at the server for 20 s must not delay the news that the machine
        is fit again.
        """
        while True:
            await self._unfit.wait()
            self._unfit.clear()
            pause = _FIRST_PAUSE
            while self.problem is not None:
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
                try:
                    await asyncio.to_thread(probe, self._work_dir)
                except OSError as error:
                    self.problem = describe_error(error)
                else:
                    _log.info("this machine can run jobs again")
                    self.problem = None
            self._fit.set()

    async def confirm(self) -> None:
        """Look whether a failure was the machine's. Raises MachineUnfit."""
        try:
            await asyncio.to_thread(probe, self._work_dir)
        except OSError as error:
            raise MachineUnfit(describe_error(error)) from error


def describe_error(error: OSError) -> str:
    """Return an error as a person reads it."""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def probe(work_dir: str) -> None:
    """Do what the start of a job needs: a directory, a file, descriptors, a process. Blocks; raises OSError."""
    root = Path(work_dir)
    ensure_directory(root)
    place = root / f"{PROBE}{secrets.token_hex(4)}"
    place.mkdir(mode=0o700)
    try:
        (place / "file").write_bytes(bytes(_PROBE_BYTES))
        with contextlib.ExitStack() as opened:
            for _ in range(_PROBE_FDS):
                opened.callback(os.close, os.open(place, os.O_RDONLY))
        with tempfile.TemporaryFile() as file:  # where a prompt is kept for its agent to read
            file.write(bytes(_PROBE_BYTES))
        command = [sys.executable, "-I", "-S", "-c", "import os; os.waitpid(os.fork() or os._exit(0), 0)"]
        _run(command, place)
    finally:
        with contextlib.suppress(OSError):
            (place / "file").unlink(missing_ok=True)
            place.rmdir()


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
