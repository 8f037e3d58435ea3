"""The interface of a sandbox, and a worker without one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HOME = "home"
JOB_PARTS = ("job", HOME, "tmp")
"""The directories in an attempt's directory that belong to its job."""
MASK_SOCKET, ASK_SOCKET = "mask", "ask"
JOB_SOCKETS = (MASK_SOCKET, ASK_SOCKET)
"""The sockets in an attempt's directory by which its job reaches the worker."""
_LABEL, _WHY_LABEL = "sandbox", "sandbox-why"


def _nothing() -> None:
    """Release nothing: no sandbox was made."""


@dataclass(frozen=True, slots=True)
class SandboxedStart:
    """How the processes of one attempt are started."""

    prefix: tuple[str, ...] = ()
    """The command of the sandbox; the keeper's own command is appended to it."""
    user: int | None = None
    """The user that the agent runs as, with a group of the same number; None for the worker's own."""
    release: Callable[[], object] = _nothing
    """Called once the attempt's last process has ended."""


class SandboxUnavailable(Exception):
    """A kind of sandbox does not work on this machine; ``next_step`` says what helps."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class Sandbox(Protocol):
    """Confines the processes of attempts."""

    @property
    def name(self) -> str:
        """The name in the worker's labels."""

    @property
    def why(self) -> str:
        """Why there is no sandbox; empty if there is one."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The capabilities that the sandbox gives to the worker."""

    def enclose(self, base: Path, start: Path, also: Iterable[str], *, network: bool) -> SandboxedStart:
        """Return how to start an attempt in ``start``; its directories are in ``base``.

        Its processes may read the files in ``also``, and what every job may read. Blocks for a moment.
        """


@dataclass(frozen=True, slots=True)
class NoSandbox:
    """No sandbox: the processes run as the worker's user and see everything that it sees."""

    name: str = "none"
    why: str = ""
    capabilities: tuple[str, ...] = ()

    def enclose(self, base: Path, start: Path, also: Iterable[str], *, network: bool) -> SandboxedStart:
        """Return an empty command. Raises OSError for a job without a network."""
        if not network:
            raise OSError("this worker cannot run a job without a network: it has no sandbox")
        return SandboxedStart()


NO_SANDBOX = NoSandbox()


def labels_of(sandbox: Sandbox) -> dict[str, str]:
    """Return a worker's labels: the name of its sandbox, and why it has none."""
    return {_LABEL: sandbox.name} | ({_WHY_LABEL: sandbox.why} if sandbox.why else {})
