"""The embedded control plane as a command sees it: find the running one, start one, stop it.

A control plane holds a lock as long as it runs; its state file says where it listens. Several commands may want one at
once: a second lock elects the command that starts it, and the others wait until it is ready.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.core.private_files import open_log
from app.core.programs import module
from cli import exits
from cli.control_plane.options import PlaneOptions
from cli.control_plane.starting import StepRow, forget_step, read_step
from cli.errors import CliError
from cli.home import ensure_home, environment, home

LOCK, STARTER, STATE, LOG = "plane.lock", "plane.start", "plane.json", "plane.log"
_READY_SECONDS = 300.0  # only an overloaded machine takes long; a failed start is noticed at once
_STOP_SECONDS = 60.0
_ANY = PlaneOptions()


@dataclass(frozen=True, slots=True)
class RunningPlane:
    """A running control plane."""

    urls: tuple[str, ...]
    token_file: Path
    dsn: str
    version: str
    pid: int
    processes: list[dict[str, Any]]
    max_workers: int | None = None
    database: str | None = None
    """The DSN of a database that is not the embedded one, without the password."""

    @property
    def token(self) -> str:
        """The administrator's token. Raises CliError."""
        try:
            return self.token_file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            why = f"the token of the control plane here cannot be read: {error}"
            step = "ado down, then ado up --detach: it writes another one"
            raise CliError(why, step, exits.INFRASTRUCTURE, "plane_failed") from error

    @property
    def options(self) -> PlaneOptions:
        """The options it runs with."""
        return PlaneOptions(len(self.urls), urlsplit(self.urls[0]).port, self.max_workers, self.database)


def version() -> str:
    """Return the release of this program."""
    from importlib import metadata

    return metadata.version("ado")


def try_lock(path: Path) -> int | None:
    """Lock a file and return its descriptor; None when another process holds the lock. Closing releases it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def running() -> bool:
    """Whether a control plane of this home runs, ready or not."""
    try:
        descriptor = os.open(home() / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def find() -> RunningPlane | None:
    """Return the control plane that is ready, or None."""
    if not running():
        return None
    return _state()


def _state() -> RunningPlane | None:
    """Return the content of the state file, or None if it is missing or invalid."""
    try:
        state = json.loads((home() / STATE).read_text("utf-8"))
        urls, processes = [str(url) for url in state["urls"]], state["processes"]
        if not urls or not all({"role", "pid"} <= process.keys() for process in processes):
            return None
        return RunningPlane(
            tuple(urls),
            Path(state["tokenFile"]),
            str(state["dsn"]),
            str(state["version"]),
            int(state["pid"]),
            processes,
            state.get("maxWorkers"),
            state.get("database"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # of another release, or edited by hand


def ensure(announce: Callable[[str], None], options: PlaneOptions = _ANY) -> RunningPlane:
    """Return the running control plane, and start one in the background if none runs. Raises CliError."""
    ensure_home()
    with _starting(announce) as running_plane:
        if running_plane is None:
            announce(f"ado: starting a control plane on this machine (state in {home()}; stop it with: ado down)")
            if not any(home().glob("postgres-*/PG_VERSION")):
                announce("ado: the first start creates the database, which takes a few seconds")
        plane = running_plane or _start(options)
    if plane.version != version():
        raise CliError(
            f"the control plane that runs here is ado {plane.version}, this is {version()}",
            "stop it with: ado down; the next command starts the new one",
            exits.INFRASTRUCTURE,
            "version_mismatch",
        )
    if running_plane is not None:
        options.check(running_plane.options, running_plane.urls[0])
    return plane


@contextlib.contextmanager
def _starting(announce: Callable[[str], None]) -> Iterator[RunningPlane | None]:
    """Hold the lock for a start; yield the running control plane, or None if it still has to be started."""
    if plane := find():
        yield plane
        return
    end = time.monotonic() + _READY_SECONDS
    with StepRow() as row:
        lock = _lock_start(announce, row, end)
        try:
            while running() and find() is None and time.monotonic() < end:
                row.show(read_step(home()))
                time.sleep(0.05)  # one was started in the foreground and is not ready yet
            row.clear()
            yield find()
        finally:
            os.close(lock)


def _lock_start(announce: Callable[[str], None], row: StepRow, end: float) -> int:
    """Wait until no other command starts a control plane, and return the descriptor of the lock. Raises CliError."""
    waited = False
    while (lock := try_lock(home() / STARTER)) is None:
        if not waited:
            announce("ado: waiting for the control plane that another command is starting")
            waited = True
        if time.monotonic() > end:
            raise _not_ready()
        row.show(read_step(home()))
        time.sleep(0.05)
    return lock


def _start(options: PlaneOptions) -> RunningPlane:
    import subprocess

    log = home() / LOG
    forget_step(home())  # of a control plane that was killed
    command = module("cli", "up", "--foreground", *options.arguments())
    with os.fdopen(open_log(log), "ab") as output:
        began = output.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env={**environment(), "_ADO_COMMAND": "ado"},  # the command that shows its errors names ado as it was typed
        )
    end = time.monotonic() + _READY_SECONDS
    with StepRow() as row:
        while time.monotonic() < end:
            if (plane := find()) is not None and plane.pid == process.pid:
                return plane
            if process.poll() is not None:
                with log.open("rb") as text:
                    text.seek(began)
                    raise _failed(text.read().decode(errors="replace"))
            row.show(read_step(home()))
            time.sleep(0.02)
    raise _not_ready()


def _failed(output: str) -> CliError:
    lines = [line for line in output.splitlines() if line.startswith("ado: ")]
    what = lines[0].removeprefix("ado: ") if lines else "the control plane did not start"
    step = lines[1].removeprefix("ado: ") if len(lines) > 1 else f"see {home() / LOG}"
    return CliError(what, step, exits.INFRASTRUCTURE, "plane_failed")


def _not_ready() -> CliError:
    return CliError(
        f"the control plane is not ready after {_READY_SECONDS:.0f} s",
        f"see {home() / LOG}; it may still come up: ado status",
        exits.INFRASTRUCTURE,
        "plane_failed",
    )


def stop() -> bool:
    """Stop the control plane of this home and wait for its end; False when none runs."""
    if not running():
        return False
    plane = _state()
    if plane is None or plane.pid <= 1:  # a process group, or the system's first process
        what = "the control plane is still starting, or its state cannot be read"
        step = f"try again in a moment, or end the process that holds {home() / LOCK} (fuser names it)"
        raise CliError(what, step, exits.INFRASTRUCTURE)
    pid = plane.pid
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it ended meanwhile
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + _STOP_SECONDS
    while running():
        if time.monotonic() > end:
            raise CliError(f"the control plane (pid {pid}) does not stop", f"see {home() / LOG}", exits.INFRASTRUCTURE)
        time.sleep(0.02)
    return True
