"""Runs a worker process: signals, the lifeline, and the exit code."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

from app.core.lifeline import on_end_in
from app.core.private_files import ForeignOwner, ensure_directory
from app.core.token_file import TokenFileExposed
from app.core.watchdog import watch
from app.rpc.client.tls import TrustUnusable, is_clear_text
from worker import secret_store
from worker.allocation import port_ranges
from worker.capabilities import CannotStart, worker_capabilities
from worker.sandbox.choice import choose
from worker.settings import WorkerSettings
from worker.supervisor import Supervisor
from worker.token import WorkerToken

_log = logging.getLogger("ado.worker")


def run(settings: WorkerSettings, lifeline: int | None = None) -> int:
    """Run a worker until a signal, a drain or the lifeline's end of file; return the exit code.

    Raises CannotStart, SandboxUnavailable, OSError.
    """
    import uvloop  # noqa: PLC0415 - not there on every platform

    try:
        token = WorkerToken(settings.token_file)
    except TokenFileExposed as error:
        raise CannotStart(str(error), error.next_step) from error
    _check_connection(settings)
    secrets = secret_store.read(settings, token.value)
    for warning in secrets.warnings():
        _log.warning(warning)
    sandbox = choose(settings)
    if sandbox.why:
        _log.warning("jobs run without a sandbox", extra={"detail": sandbox.why})
    capabilities = worker_capabilities(settings, secrets, sandbox)
    _check_work_dir(Path(settings.work_dir))
    _check_ports(settings)
    _check_caches(settings)
    supervisor = Supervisor(settings, capabilities, secrets, token, sandbox)
    return uvloop.run(_run(supervisor, lifeline, settings.loop_watchdog_seconds))


def _check_connection(settings: WorkerSettings) -> None:
    try:
        settings.trust.context()
    except TrustUnusable as error:
        raise CannotStart(f"TLS cannot be used: {error}", "check --ca, --client-cert and --client-key") from error
    for url in filter(is_clear_text, settings.url):
        _log.warning("the token travels in clear text: use https", extra={"url": url})


def _check_work_dir(path: Path) -> None:
    try:
        ensure_directory(path)
    except ForeignOwner as error:
        step = "remove it, or name another directory with ADO_WORK_DIR (--work-dir)"
        raise CannotStart(f"jobs cannot run in {path}: {error.strerror}", step) from error
    except OSError:
        return  # a full disk or a late mount: the worker waits for it and reports why to the server


def _check_ports(settings: WorkerSettings) -> None:
    try:
        ranges = len(port_ranges(settings))
    except ValueError as error:
        raise CannotStart(f"ADO_JOB_PORTS: {error}", "write it as FIRST-LAST, or leave it out") from error
    if not ranges:
        _log.warning("jobs get no ports of their own: ADO_JOB_PORTS lies within the machine's ephemeral ports")
    elif ranges < settings.slots:
        message = f"ADO_JOB_PORTS has ports for {ranges} jobs, and the worker has {settings.slots} slots"
        raise CannotStart(message, "name more ports, at least 21 for each slot, or lower ADO_SLOTS")


def _check_caches(settings: WorkerSettings) -> None:
    """Refuse a directory of another user, or on another file system: copies are moved by a rename."""
    if not settings.cache_dir:
        return
    try:
        ensure_directory(Path(settings.cache_dir))
        is_apart = Path(settings.cache_dir).stat().st_dev != Path(settings.work_dir).stat().st_dev
    except OSError as error:
        raise CannotStart(f"caches cannot be kept in {settings.cache_dir}: {error}", "correct ADO_CACHE_DIR") from error
    if is_apart:
        message = f"{settings.cache_dir} is not on the file system of {settings.work_dir}"
        raise CannotStart(message, "name an ADO_CACHE_DIR beside ADO_WORK_DIR")


async def _run(supervisor: Supervisor, lifeline: int | None, watchdog_seconds: float) -> int:
    loop = asyncio.get_running_loop()
    watch(watchdog_seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    if lifeline is not None:
        on_end_in(loop, lifeline, supervisor.stop)
    return await supervisor.run()
