"""Chooses a worker's sandbox: the one in its settings, or the strongest that works on this machine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Literal, get_args

from worker.sandbox.base import NoSandbox, Sandbox, SandboxUnavailable
from worker.sandbox.bubblewrap import BubblewrapSandbox
from worker.sandbox.uid import UidSandbox
from worker.settings import WorkerSettings

Kind = Literal["auto", "bubblewrap", "uid", "none"]
_CONTAINER = "container"


def choose(settings: WorkerSettings) -> Sandbox:
    """Return a tested sandbox; a named one is never replaced by a weaker one. Raises SandboxUnavailable."""
    match settings.sandbox:
        case "bubblewrap":
            return _bubblewrap(settings)
        case "uid":
            return UidSandbox.detect(settings.job_uids, settings.work_dir)
        case "none":
            return NoSandbox()
        case "auto":
            return _first(settings)
    kinds = ", ".join(get_args(Kind))
    raise SandboxUnavailable(f"ADO_SANDBOX={settings.sandbox!r} is no kind of sandbox", f"choose one of: {kinds}")


def _first(settings: WorkerSettings) -> Sandbox:
    """Return the strongest sandbox that works on this machine."""
    if settings.isolated:
        return NoSandbox(_CONTAINER)
    try:
        return _bubblewrap(settings)
    except SandboxUnavailable as error:
        why = f"{error} ({error.next_step})"
    if not settings.job_uids or os.geteuid() != 0:
        return NoSandbox(why=why)
    try:
        return UidSandbox.detect(settings.job_uids, settings.work_dir)
    except SandboxUnavailable as error:
        return NoSandbox(why=f"{why}; {error} ({error.next_step})")


def _bubblewrap(settings: WorkerSettings) -> BubblewrapSandbox:
    return BubblewrapSandbox.detect(_hidden(settings), _readable(settings), gpu=settings.gpu > 0)


def _hidden(settings: WorkerSettings) -> list[str]:
    """Return the paths that no job may see."""
    paths = (settings.work_dir, settings.token_file, settings.secrets_dir, os.environ.get("ADO_HOME", ""))
    return [path for path in paths if path and not path.startswith(("/dev/", "/proc/"))]


def _readable(settings: WorkerSettings) -> Iterator[str]:
    """Yield the paths that jobs may read because the worker's settings name them."""
    yield from settings.sandbox_read
    for entry in settings.acp_agents:
        yield from (word for word in shlex.split(entry.partition("=")[2]) if word.startswith("/"))
