"""The commands that start servers; with ``database`` all of the CLI that imports them, when such a command runs."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter, validators

from cli import exits, here, plane
from cli.errors import CliError, fail, usage
from cli.extras import need
from cli.home import ensure_home, environment
from cli.output import Form, talk, write_one
from cli.plane_options import DEFAULT_REPLICAS, DEFAULT_WORKERS, PlaneOptions
from cli.starting import StepRow, forget_step, write_step
from cli.system_errors import refused
from cli.work import work

_FIRST_LOOK_SECONDS = 10.0
_LOOK_SECONDS = 60.0
_OF_LISTENING = (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL, errno.EPERM)

Hidden = Parameter(show=False)


def _is_open(_type: object, fd: int | None) -> None:
    """Refuse a number that is no open descriptor of this process."""
    if fd is not None:
        try:
            os.fstat(fd)
        except (OSError, OverflowError):
            raise ValueError(f"{fd} is no open descriptor") from None


Descriptor = Annotated[int | None, Parameter(show=False, validator=_is_open)]


def up(
    *,
    detach: bool = False,
    replicas: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=64))] = None,
    port: Annotated[int | None, Parameter(validator=validators.Number(gte=0, lte=65535))] = None,
    max_workers: Annotated[int | None, Parameter(validator=validators.Number(gte=1, lte=1000))] = None,
    foreground: Annotated[bool, Hidden] = False,
    output: Form = "text",
) -> int:
    """Start the embedded control plane: Postgres, API and local spawner.

    Parameters
    ----------
    detach
        Return when it is ready and leave it running.
    replicas
        API processes, each on a port of its own; 1 otherwise.
    port
        Port of the first API process; a free one is taken otherwise.
    max_workers
        Most worker processes at once; 8 otherwise.
    """
    need("server")
    dsn = os.environ.get("ADO_DSN")
    options = PlaneOptions(replicas, port, max_workers, _shown(dsn) if dsn else None)
    if detach:
        found = plane.ensure(talk, options)
        write_one(_shape(found), output, "url", said=f"ready at {found.urls[0]}")
        return exits.SUCCESS
    return _run_plane(options, quiet=foreground)


def _run_plane(options: PlaneOptions, *, quiet: bool) -> int:
    from app import logs
    from app.control.plane import ControlPlane, PlaneSettings
    from db.errors import DatabaseError

    home = ensure_home()
    os.environ.update(environment())  # its children start elsewhere
    # Never closed: the kernel lets go of it last, so who waits for the lock finds no process either.
    if plane.try_lock(home / plane.LOCK) is None:
        if (found := plane.find()) is not None:
            options.check(found.options, found.urls[0])
        raise CliError("a control plane runs already", "see: ado status; stop it with: ado down", exits.FAILED)
    (home / plane.STATE).unlink(missing_ok=True)  # of one that was killed
    if quiet:
        logs.configure()
    stopping = threading.Event()
    _on_signals(stopping)
    settings = PlaneSettings(
        home, home / plane.STATE, plane.version(), options.replicas or DEFAULT_REPLICAS, options.port or 0,
        options.max_workers or DEFAULT_WORKERS, os.environ.get("ADO_DSN", ""),
    )  # fmt: skip
    try:
        with StepRow() as row:
            ControlPlane(settings, _tell(home, row)).run(stopping, lambda urls: _say_ready(home, row, urls))
    except DatabaseError as error:
        fail(error)
    except OSError as error:
        listening = error.filename is None and error.errno in _OF_LISTENING
        raise (_cannot_listen(options.port, error) if listening else refused(error)) from error
    finally:
        forget_step(home)
    return exits.SUCCESS


def _tell(home: Path, row: StepRow) -> Callable[[str], None]:
    """Return what tells the steps of the start: to the commands that wait for it, and to who started it here."""

    def tell(step: str) -> None:
        write_step(home, step)
        row.show(step)

    return tell


def _say_ready(home: Path, row: StepRow, urls: list[str]) -> None:
    forget_step(home)
    row.clear()
    talk(f"ado: ready at {', '.join(urls)}")


def _cannot_listen(port: int | None, error: OSError) -> CliError:
    where = f"port {port}" if port else "there"
    step = "choose another --port; ports below 1024 need rights of their own"
    return CliError(f"cannot listen on {where}: {error.strerror or error}", step, exits.INFRASTRUCTURE, "port")


def _on_signals(stopping: threading.Event) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)


def down(*, output: Form = "text") -> int:
    """Stop the embedded control plane; tasks stay where they are and go on at the next start."""
    stopped = plane.stop()
    said = "stopped" if stopped else "no control plane runs here"
    write_one({"stopped": stopped, "name": said}, output, "name", said=said)
    return exits.SUCCESS


def _shown(dsn: str) -> str:
    """Return a DSN without its password. Raises CliError for what is no DSN."""
    need("server")
    from db.dsn import without_password
    from db.errors import DatabaseError

    try:
        return without_password(dsn)
    except DatabaseError as error:
        fail(error)


def _shape(found: plane.Plane) -> dict[str, Any]:
    return {
        "url": found.urls[0],
        "urls": list(found.urls),
        "tokenFile": str(found.token_file),
        "dsn": _shown(found.dsn),
        "version": found.version,
        "processes": found.processes,
    }


def status(*, output: Form = "text") -> int:
    """Show the embedded control plane, and what is wrong with it."""
    from cli.connection import http
    from cli.contexts import Server
    from cli.troubles import look

    found = plane.find()
    if found is None:
        raise CliError("no control plane runs here", "start one with: ado up --detach", exits.FAILED, "not_running")
    shape = _shape(found)
    lines = [f"{name:10} {shape[name]}" for name in ("url", "tokenFile", "dsn", "version")]
    lines += [f"{process['role']:13} pid {process['pid']}" for process in found.processes]
    troubles = look(http(Server(found.urls, found.token)))
    for trouble in troubles:
        lines += [f"{trouble.name:10} {trouble.message}", f"{'':10} fix: {trouble.fix}"]
    write_one({**shape, "troubles": [asdict(trouble) for trouble in troubles]}, output, "url", lines)
    return exits.SUCCESS


replica = App(name="api", help="Run one API replica, or print its types.", help_format="plaintext")


@replica.command
def types() -> int:
    """Print the TypeScript declaration that GET /trpc/ado.d.ts serves."""
    need("server")
    from app.reasons import OF_THE_WIRE, REFUSALS
    from app.routers.table import registry
    from app.rpc.typescript import declaration

    print(declaration(registry(), plane.version(), (*REFUSALS, *OF_THE_WIRE)), end="")
    return exits.SUCCESS


@replica.default
def api(
    *,
    host: str | None = None,
    port: int | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    tls_client_ca: str | None = None,
    fd: Descriptor = None,
    lifeline: Descriptor = None,
) -> int:
    """Run one API replica on ADO_DSN.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on.
    tls_cert
        Certificate to serve TLS with, and its chain, in PEM; read again when the file changes.
    tls_key
        Its key in PEM, where it is not in the same file.
    tls_client_ca
        CA in PEM that signed the certificates which workers must then present.
    """
    need("server")
    import socket

    from app import logs
    from app.serve import bind, serve
    from app.settings import AppSettings, SettingsError, read
    from app.tls import CertificateUnusable
    from db.errors import DatabaseError
    from db.migrate import check

    logs.configure()
    try:
        settings = read(
            AppSettings, host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, tls_client_ca=tls_client_ca
        )
        check(settings.dsn)
        listener = socket.socket(fileno=fd) if fd is not None else bind(settings.host, settings.port)
    except SettingsError as error:
        raise usage(str(error), "see the configuration table in the README") from error
    except DatabaseError as error:
        fail(error)
    except OSError as error:
        raise _cannot_listen(port, error) from error
    try:
        serve(settings, listener, lifeline)
    except CertificateUnusable as error:
        raise usage(f"TLS cannot be served: {error}", "check --tls-cert, --tls-key and --tls-client-ca") from error
    return exits.SUCCESS


def spawner(
    *,
    backend: Literal["local", "kubernetes"] = "local",
    max: Annotated[int | None, Parameter(name="--max")] = None,
    url: str | None = None,
    work_dir: str | None = None,
    lifeline: Descriptor = None,
) -> int:
    """Run a spawner on ADO_DSN: it starts workers for queued jobs and ends idle ones.

    Parameters
    ----------
    backend
        Where workers run: processes of this machine, or pods of a cluster.
    max
        Most workers at once; with pods, in the namespace.
    url
        Origins of the API that its workers use, divided by commas.
    work_dir
        Where workers of this machine make the directories of their jobs.
    """
    need("kubernetes" if backend == "kubernetes" else "server")
    from app import logs
    from app.lifeline import on_end
    from app.settings import SettingsError, SpawnerSettings, read
    from db.errors import DatabaseError
    from db.threaded import Pool

    logs.configure()
    stopping = threading.Event()
    _on_signals(stopping)
    if lifeline is not None:
        on_end(lifeline, stopping.set)
    try:
        settings = read(SpawnerSettings, max_workers=max, url=tuple(url.split(",")) if url else None, work_dir=work_dir)
        pool = Pool(settings.dsn, size=4)
        pool.open()
        try:
            if backend == "local":
                _spawn_processes(settings, pool, stopping, lifeline)
            else:
                from app.control.backends.start import pod_spawner

                pod_spawner(settings, pool).run(stopping)
        finally:
            pool.close()
    except SettingsError as error:
        raise usage(str(error), "see the configuration table in the README") from error
    except DatabaseError as error:
        fail(error)
    return exits.SUCCESS


def _spawn_processes(settings: Any, pool: Any, stopping: threading.Event, lifeline: int | None) -> None:
    from app.control.backends.local import LocalBackend
    from app.control.decide import Limits
    from app.control.presence import Presence
    from app.control.spawner import Spawner
    from app.private import Foreign, ensure_directory
    from db.spawner import SpawnerDatabase
    from worker.keeper import become_subreaper
    from worker.sandbox.base import Unavailable

    become_subreaper()
    try:
        ensure_directory(Path(settings.work_dir))
    except Foreign as error:
        step = "remove it, or name another directory with ADO_WORK_DIR (--work-dir)"
        raise usage(f"jobs cannot run in {settings.work_dir}: {error.strerror}", step) from error
    except OSError:
        pass  # its workers tell the server why they cannot run jobs
    named = "ADO_WORKER_CAPABILITIES" in os.environ  # else its workers offer what is here, as they run here
    hosts = tuple(f"git:{host}" for host in settings.git_hosts)
    try:
        capabilities, labels = (here.with_sandbox(settings.worker_capabilities), {}) if named else here.offered()
    except OSError as error:
        raise usage(f"the secrets cannot be read: {error}", "check ADO_SECRETS_DIR") from error
    except Unavailable as error:
        raise usage(str(error), error.next_step) from error
    local = LocalBackend(
        urls=settings.url,
        capabilities=(*capabilities, *hosts),
        labels=labels,
        work_dir=Path(settings.work_dir),
        lifeline=lifeline,
    )
    if not named:
        looking = threading.Thread(target=_look_again, args=(local, hosts, stopping), name="agents", daemon=True)
        looking.start()
    limits = Limits(settings.max_workers, settings.idle_seconds, settings.start_seconds)
    try:
        presence = Presence.of(pool, local.name, settings.max_workers)
        Spawner(SpawnerDatabase(pool), local, limits, presence, interval=settings.spawner_seconds).run(stopping)
    finally:
        local.stop(settings.worker_stop_seconds)


def _look_again(local: Any, hosts: tuple[str, ...], stopping: threading.Event) -> None:
    """Look again and again what can start here: an agent may be installed, signed in or updated, or was slow to answer.

    The first look comes soon, because agents that did not answer at the start were probably started all at once.
    """
    from worker.sandbox.base import Unavailable

    pause = _FIRST_LOOK_SECONDS
    while not stopping.wait(pause):
        pause = _LOOK_SECONDS
        with contextlib.suppress(OSError, Unavailable):  # cannot be told for the moment: what was offered stays
            capabilities, labels = here.offered()
            local.set_offer((*capabilities, *hosts), labels)


def worker(
    *,
    url: str | None = None,
    token_file: str | None = None,
    id: Annotated[str | None, Parameter(name="--id")] = None,
    capability: list[str] | None = None,
    label: list[str] | None = None,
    slots: int | None = None,
    work_dir: str | None = None,
    ca: str | None = None,
    client_cert: str | None = None,
    client_key: str | None = None,
    lifeline: Descriptor = None,
) -> int:
    """Run a worker: it claims jobs and runs them.

    Parameters
    ----------
    url
        Origins of the API, divided by commas.
    token_file
        File with the worker's token; it is read again when the token may have been renewed.
    id
        Name to register under.
    capability
        What it offers; may be given several times. By default shell, scripted, and every AI agent that can start.
    label
        NAME=VALUE that it is listed with; may be given several times.
    slots
        Jobs at once.
    work_dir
        Where it makes the directories of its jobs.
    ca
        CA in PEM to trust the server by, in place of the system's.
    client_cert
        Certificate in PEM to show a server that asks workers for one; read again when the file changes.
    client_key
        Its key in PEM, where it is not in the same file.
    """
    return work(
        lifeline,
        url=tuple(url.split(",")) if url else None,
        token_file=token_file,
        worker_id=id,
        capabilities=tuple(capability) if capability else None,
        labels=tuple(label) if label else None,
        slots=slots,
        work_dir=work_dir,
        ca=ca,
        client_cert=client_cert,
        client_key=client_key,
    )
