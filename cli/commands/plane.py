"""``ado up``, ``down`` and ``status``: the embedded control plane."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cli import dashboard, exits
from cli.control_plane import embedded
from cli.control_plane.options import DEFAULT_REPLICAS, DEFAULT_WORKERS, PlaneOptions
from cli.control_plane.starting import StepRow, forget_step, write_step
from cli.declarations import Parameter, between
from cli.errors import CliError, fail, refused
from cli.extras import need
from cli.home import ensure_home, environment
from cli.output import talk, write_note, write_one
from cli.parameters import OutputOption, Port
from cli.server_start import LISTEN_ERRORS, cannot_listen, stop_on_signals


def up(
    *,
    detach: bool = False,
    replicas: Annotated[int | None, Parameter(validator=between(1, 64))] = None,
    port: Port = None,
    max_workers: Annotated[int | None, Parameter(validator=between(1, 1000))] = None,
    foreground: Annotated[bool, Parameter(show=False)] = False,
    output: OutputOption = "text",
) -> None:
    """Start the embedded control plane: Postgres, API and local spawner.

    Parameters
    ----------
    detach
        Return when it is ready and leave it running.
    replicas
        API processes, each on its own port; 1 by default.
    port
        Port of the first API process; a free one by default.
    max_workers
        Most worker processes at once; 8 by default.
    """
    need("server")
    dsn = os.environ.get("ADO_DSN")
    options = PlaneOptions(replicas, port, max_workers, _shown(dsn) if dsn else None)
    ensure_home()  # what cannot be used is said at once, not after a build
    if not foreground:
        dashboard.prepare(talk, install_node=False)
    if detach:
        plane = embedded.ensure(talk, options)
        write_one(_shape(plane), output, "url", note=f"ready at {plane.urls[0]}")
        return
    _run_plane(options, quiet=foreground)


def _run_plane(options: PlaneOptions, *, quiet: bool) -> None:
    from app.core import logs
    from cli.control_plane.supervisor import ControlPlane, PlaneSettings
    from db.errors import DatabaseError

    home = ensure_home()
    os.environ.update(environment())  # its children have another working directory
    # Never closed: the kernel releases it when the process ends, so the next holder finds no process of this one.
    if embedded.try_lock(home / embedded.LOCK) is None:
        if (running := embedded.find()) is not None:
            options.check(running.options, running.urls[0])
        raise CliError("a control plane runs already", "see: ado status; stop it with: ado down", exits.FAILED)
    (home / embedded.STATE).unlink(missing_ok=True)  # of a control plane that was killed
    if quiet:
        logs.configure()
    stopping = threading.Event()
    stop_on_signals(stopping)
    settings = PlaneSettings(
        home, home / embedded.STATE, embedded.version(), options.replicas or DEFAULT_REPLICAS, options.port or 0,
        options.max_workers or DEFAULT_WORKERS, os.environ.get("ADO_DSN", ""),
    )  # fmt: skip
    try:
        with StepRow() as row:
            ControlPlane(settings, _step_reporter(home, row)).run(stopping, lambda urls: _report_ready(home, row, urls))
    except DatabaseError as error:
        fail(error)
    except OSError as error:
        listening = error.filename is None and error.errno in LISTEN_ERRORS
        raise (cannot_listen(options.port, error) if listening else refused(error)) from error
    finally:
        forget_step(home)


def _step_reporter(home: Path, row: StepRow) -> Callable[[str], None]:
    """Return a function that reports a step of the start to waiting commands and to the person who started it."""

    def report(step: str) -> None:
        write_step(home, step)
        row.show(step)

    return report


def _report_ready(home: Path, row: StepRow, urls: list[str]) -> None:
    forget_step(home)
    row.clear()
    talk(f"ado: ready at {', '.join(urls)}")


def down(*, output: OutputOption = "text") -> None:
    """Stop the embedded control plane. Tasks stay, and continue at the next start."""
    stopped = embedded.stop()
    write_note({"stopped": stopped}, output, "stopped" if stopped else "no control plane runs here")


def _shown(dsn: str) -> str:
    """Return a DSN without its password. Raises CliError for an invalid one."""
    need("server")
    from db.dsn import without_password
    from db.errors import DatabaseError

    try:
        return without_password(dsn)
    except DatabaseError as error:
        fail(error)


def _shape(plane: embedded.RunningPlane) -> dict[str, Any]:
    return {
        "url": plane.urls[0],
        "urls": list(plane.urls),
        "tokenFile": str(plane.token_file),
        "dsn": _shown(plane.dsn),
        "version": plane.version,
        "processes": plane.processes,
    }


def _next_step() -> str:
    """Return what to do if no control plane runs on this machine."""
    from cli.remote import contexts

    server = contexts.named(None)
    if url := os.environ.get("ADO_URL") or (server and ",".join(server.urls)):
        return f"ado doctor checks the server at {url}, and ado workers status shows its queue"
    return "start one with: ado up --detach"


def status(*, output: OutputOption = "text") -> None:
    """Show the embedded control plane, and what is wrong with it."""
    from cli.remote.connection import http
    from cli.remote.contexts import ServerContext
    from cli.remote.problems import look

    plane = embedded.find()
    if plane is None:
        raise CliError("no control plane runs here", _next_step(), exits.FAILED, "not_running")
    shape = _shape(plane)
    lines = [f"{name:13} {shape[name]}" for name in ("url", "tokenFile", "dsn", "version")]
    lines += [f"{process['role']:13} pid {process['pid']}" for process in plane.processes]
    problems = look(http(ServerContext(plane.urls, plane.token)))
    for problem in problems:
        lines += [f"{problem.name:13} {problem.message}", f"{'':13} fix: {problem.fix}"]
    write_one({**shape, "troubles": [asdict(problem) for problem in problems]}, output, "url", lines)
