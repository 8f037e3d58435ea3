"""Workers as processes of this machine.

Each gets its token through a pipe and, where the control plane has one, the lifeline: a pipe whose end of file means
that the control plane has gone, however it went. A job may kill its keeper and its worker; the spawner is a subreaper,
so what is left of such a job becomes its child, and is killed once the worker has ended.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.core.capabilities import OF_RELEASE
from app.core.programs import module
from app.spawner.backends.base import EndedWorker
from app.spawner.decide import WorkerSpec
from db.model import ResourceAmounts
from worker.processes.keeper import is_subreaper
from worker.processes.process import KeptProcess, sweep

_SECRETS = frozenset(
    {"ADO_DSN", "ADO_LISTEN_DSN", "ADO_TOKEN", "ADO_DATA_KEY", "PGPASSWORD"}
)  # a worker holds none of these


def machine() -> ResourceAmounts:
    """Return this machine's cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return ResourceAmounts(float(os.cpu_count() or 1), memory)


class LocalBackend:
    """Starts ``ado worker`` processes and waits for them."""

    name = "local"

    def __init__(
        self,
        *,
        urls: Sequence[str],
        capabilities: Sequence[str],
        labels: Mapping[str, str],
        work_dir: Path,
        lifeline: int | None,
    ) -> None:
        self.host = platform.node()
        self.spec = WorkerSpec(frozenset((*capabilities, *OF_RELEASE)), machine())
        self._labels = labels
        self._urls = urls
        self._work_dir = work_dir
        self._lifeline = lifeline
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at: dict[str, float] = {}

    def set_spec(self, capabilities: Sequence[str], labels: Mapping[str, str]) -> None:
        """Change what workers offer that are started from now on."""
        self.spec = WorkerSpec(frozenset((*capabilities, *OF_RELEASE)), self.spec.resources)
        self._labels = labels

    def start(self, worker_id: str, token: str) -> None:
        """Start a worker process."""
        read, write = os.pipe()
        try:
            os.write(write, token.encode())
            os.close(write)
            with KeptProcess.starting():
                self._processes[worker_id] = subprocess.Popen(
                    self._command(worker_id, read),
                    stdin=subprocess.DEVNULL,
                    pass_fds=[read] if self._lifeline is None else [read, self._lifeline],
                    env={name: value for name, value in os.environ.items() if name not in _SECRETS},
                    start_new_session=True,  # a Ctrl-C in the terminal is for the control plane, which then asks
                )
                KeptProcess.keepers.add(self._processes[worker_id].pid)
            self._started_at[worker_id] = time.monotonic()
        finally:
            os.close(read)

    def _command(self, worker_id: str, token_fd: int) -> list[str]:
        command = module("cli", "worker", "--id", worker_id, "--url", ",".join(self._urls))
        command += ["--token-file", f"/dev/fd/{token_fd}", "--work-dir", str(self._work_dir)]
        for capability in sorted(self.spec.capabilities):
            command += ["--capability", capability]
        for name, value in self._labels.items():
            command += ["--label", f"{name}={value}"]
        if self._lifeline is not None:
            command += ["--lifeline", str(self._lifeline)]
        return command

    def ended(self) -> list[EndedWorker]:
        """Return the workers whose processes ended, once each."""
        now = time.monotonic()
        codes = {worker_id: process.poll() for worker_id, process in self._processes.items()}
        ended = [
            EndedWorker(worker_id, now - self._started_at.pop(worker_id), code)
            for worker_id, code in codes.items()
            if code is not None
        ]
        for worker in ended:
            KeptProcess.keepers.discard(self._processes.pop(worker.worker_id).pid)
        if ended:
            _end_orphans()
        return ended

    def stop(self, seconds: float) -> None:
        """Ask every worker to end, then kill those that did not."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            KeptProcess.keepers.discard(process.pid)
        self._processes.clear()
        _end_orphans()


def _end_orphans() -> None:
    """Kill what ended workers left behind, where such processes become children of this one."""
    if is_subreaper():
        sweep()
