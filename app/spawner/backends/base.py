"""What a spawner asks of a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from app.spawner.decide import Offer


@dataclass(frozen=True, slots=True)
class Gone:
    """A worker whose process has ended, with how long it ran and its exit code (a signal as its negative number)."""

    worker_id: str
    seconds: float
    code: int


class Backend(Protocol):
    """Starts and ends the processes of workers."""

    name: str
    host: str
    offer: Offer

    def start(self, worker_id: str, token: str) -> None:
        """Start a worker that will register under the id with the token."""

    def ended(self) -> list[Gone]:
        """Return the workers whose processes ended since the last call."""

    def stop(self, seconds: float) -> None:
        """End every worker this backend started: asked first, killed after ``seconds``."""
