"""Running a worker: signals, the lifeline, and the exit code."""

from __future__ import annotations

import asyncio
import logging
import signal

from app.lifeline import on_end_in
from app.watchdog import watch
from worker import vault
from worker.offer import offer
from worker.settings import WorkerSettings
from worker.supervisor import Supervisor
from worker.token import Token

_log = logging.getLogger("ado.worker")


def run(settings: WorkerSettings, lifeline: int | None = None) -> int:
    """Work until a signal, a drain or the lifeline's end of file; return the exit code. Raises Unfit, OSError."""
    import uvloop  # noqa: PLC0415 - not there on every platform

    token = Token(settings.token_file)
    held = vault.read(settings, token.value)
    for warning in held.warnings():
        _log.warning(warning)
    supervisor = Supervisor(settings, offer(settings, held), held, token)
    return uvloop.run(_run(supervisor, lifeline, settings.loop_watchdog_seconds))


async def _run(supervisor: Supervisor, lifeline: int | None, watchdog_seconds: float) -> int:
    loop = asyncio.get_running_loop()
    watch(watchdog_seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    if lifeline is not None:
        on_end_in(loop, lifeline, supervisor.stop)
    return await supervisor.run()
