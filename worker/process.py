"""One agent's processes, seen from the worker: started under a keeper, signalled through it, ended for certain."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from worker import keeper

_KEEPER = str(Path(__file__).with_name("keeper.py"))


@dataclass(frozen=True, slots=True)
class Ended:
    """How an agent's main process ended: exit code, or signal, or the reason why it never started."""

    exit_code: int | None = None
    signal: int | None = None
    error: str | None = None


class KeptProcess:
    """An agent under its keeper; ``stdout``, ``stderr`` and ``events`` are the read ends of its pipes."""

    keepers: set[int] = set()
    """Pids of the keepers of this worker."""

    def __init__(
        self, process: asyncio.subprocess.Process, fds: tuple[int, int, int], control: int, status: int
    ) -> None:
        self.stdout, self.stderr, self.events = fds
        self._process = process
        self._control: int | None = control
        self._status = status

    @classmethod
    async def start(
        cls, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, stdin: str = "", held: int | None = None
    ) -> KeptProcess:
        """Start an agent that reads ``stdin``. The write end of ``events`` is named to it in ADO_EVENTS_FD.

        All of its processes keep the file descriptor ``held`` open.
        """
        script = _file_of(stdin)
        pipes = [os.pipe() for _ in range(5)]
        (out_r, out_w), (err_r, err_w), (event_r, event_w), (control_r, control_w), (status_r, status_w) = pipes
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", _KEEPER, str(control_r), str(status_w), "--", *argv),
                stdin=script,
                stdout=out_w,
                stderr=err_w,
                pass_fds=(control_r, status_w, event_w, *(() if held is None else (held,))),
                env={**env, "ADO_EVENTS_FD": str(event_w)},
                cwd=cwd,
                start_new_session=True,
            )
        except BaseException:
            for fd in (out_r, err_r, event_r, control_w, status_r):
                os.close(fd)
            raise
        finally:
            for fd in (out_w, err_w, event_w, control_r, status_w, script):
                os.close(fd)
        cls.keepers.add(process.pid)
        return cls(process, (out_r, err_r, event_r), control_w, status_r)

    def terminate(self) -> None:
        """Send SIGTERM to the whole tree."""
        self._order(b"T")

    def kill(self) -> None:
        """Send SIGKILL to the whole tree."""
        self._order(b"K")

    def _order(self, order: bytes) -> None:
        if self._control is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._control, order)

    async def ended(self) -> Ended:
        """Wait until the whole tree has ended."""
        await self._process.wait()
        self.keepers.discard(self._process.pid)
        line = os.read(self._status, 4096)
        if not line:  # somebody killed the keeper; the agent died with it, what it left behind is ours now
            if keeper.is_subreaper():
                sweep(self.keepers)
            return Ended(signal=signal.SIGKILL)
        report: dict[str, Any] = orjson.loads(line)
        return Ended(report.get("exit"), report.get("signal"), report.get("error"))

    def close(self) -> None:
        """Close the worker's ends of control and status."""
        if self._control is not None:
            os.close(self._control)
            os.close(self._status)
            self._control = None


def _file_of(text: str) -> int:
    """Return a descriptor to read a text from: a file without a name, because a pipe would have to be fed."""
    if not text:
        return os.open(os.devnull, os.O_RDONLY)
    with tempfile.TemporaryFile() as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.seek(0)
        return os.dup(file.fileno())


def sweep(keepers: set[int]) -> None:
    """Kill the orphans that became this worker's children because their keeper was killed."""
    me = os.getpid()
    while strays := [pid for pid, parent in keeper.parents().items() if parent == me and pid not in keepers]:
        for pid in strays:
            keeper.signal_all([*keeper.descendants(pid), pid], signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
