"""What every kind of sandbox offers to an attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_LABEL, _WHY_LABEL = "sandbox", "sandbox-why"


def _nothing() -> None:
    """Release nothing."""


@dataclass(frozen=True, slots=True)
class SandboxedStart:
    """How the processes of one attempt are started."""

    prefix: tuple[str, ...] = ()
    """The command that the keeper's own command is appended to."""
    user: int | None = None
    """The user that the agent becomes, with a group of the same number; None: it stays the worker's."""
    release: Callable[[], object] = _nothing
    """To be called once the attempt's last process has ended."""


class SandboxUnavailable(Exception):
    """A kind of sandbox does not work here; ``next_step`` says what would help."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class Sandbox(Protocol):
    """Encloses attempts."""

    @property
    def name(self) -> str:
        """The name that the worker is listed with."""

    @property
    def why(self) -> str:
        """Why there is no sandbox; empty where there is one."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What the worker can offer because of it."""

    def enclose(self, base: Path, start: Path, also: Iterable[str], *, network: bool) -> SandboxedStart:
        """Return how to start an attempt in ``start``; its directories are in ``base``.

        Its processes may read ``also`` besides what every job may read. Blocks for a moment.
        """


@dataclass(frozen=True, slots=True)
class NoSandbox:
    """No sandbox: the processes have the worker's user and see what it sees."""

    name: str = "none"
    why: str = ""
    capabilities: tuple[str, ...] = ()

    def enclose(self, base: Path, start: Path, also: Iterable[str], *, network: bool) -> SandboxedStart:
        """Return a start without anything around it."""
        if not network:
            raise OSError("this worker cannot run a job without a network: it has no sandbox")
        return SandboxedStart()


NO_SANDBOX = NoSandbox()


def labels_of(sandbox: Sandbox) -> dict[str, str]:
    """Return the labels that a worker is listed with: the name of its sandbox, and why it has none."""
    return {_LABEL: sandbox.name} | ({_WHY_LABEL: sandbox.why} if sandbox.why else {})
