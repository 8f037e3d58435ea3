"""What a worker asks of an agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from worker.process import Ended


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, as it is reported."""

    outcome: str
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None


class Agent(Protocol):
    """Turns a prompt into a command line, and an exit into an outcome."""

    def command(self, job: Mapping[str, Any]) -> list[str]:
        """Return what to execute for a job."""

    def outcome(self, ended: Ended) -> Outcome:
        """Judge how the process ended."""


def judge(ended: Ended) -> Outcome:
    """Judge a process by its exit code alone."""
    if ended.error is not None:
        return Outcome("failed", None, "start_failed", ended.error)
    if ended.signal is not None:
        return Outcome("failed", 128 + ended.signal, "exit_nonzero", f"ended by signal {ended.signal}")
    if ended.exit_code:
        return Outcome("failed", ended.exit_code, "exit_nonzero", f"exit code {ended.exit_code}")
    return Outcome("succeeded", 0)
