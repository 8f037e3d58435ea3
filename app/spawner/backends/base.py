"""The interface of a backend that starts processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from app.spawner.decide import WorkerSpec


@dataclass(frozen=True, slots=True)
class EndedWorker:
    """A worker whose process has ended, with how long it ran and its exit code (a signal as its negative number)."""

    worker_id: str
    seconds: float
    code: int


class Backend(Protocol):
    """Starts and ends the processes of workers."""

    name: str
    host: str
    spec: WorkerSpec

    def start(self, worker_id: str, token: str) -> None:
        """Start a worker that will register under the id with the token."""

    def ended(self) -> list[EndedWorker]:
        """Return the workers whose processes ended since the last call."""

    def stop(self, seconds: float) -> None:
        """Ask every worker this backend started to end, and kill it after ``seconds``."""
