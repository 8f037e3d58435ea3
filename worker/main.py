"""Running a worker: signals, the lifeline, and the exit code."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from worker.offer import WorkerOffer, offer
from worker.settings import WorkerSettings
from worker.supervisor import Supervisor


def run(settings: WorkerSettings, lifeline: int | None = None) -> int:
    """Work until a signal, a drain or the lifeline's end of file; return the exit code. Raises Unfit, OSError."""
    offered = offer(settings)
    token = Path(settings.token_file).read_text("utf-8").strip()
    return asyncio.run(_run(settings, offered, token, lifeline))


async def _run(settings: WorkerSettings, offered: WorkerOffer, token: str, lifeline: int | None) -> int:
    supervisor = Supervisor(settings, offered, token)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    if lifeline is not None:

        def cut() -> None:
            loop.remove_reader(lifeline)
            supervisor.stop()

        loop.add_reader(lifeline, cut)
    return await supervisor.run()
