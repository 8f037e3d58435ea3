"""Running an agent here, without a server: the user's own directory, HOME and environment.

The agent runs under a keeper, so that nothing of it survives. With one worker its output goes straight through;
with several every line carries the worker's number. Ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.agents import AGENTS
from worker.agents.base import Run
from worker.output import Outbox, PipeReader
from worker.process import Ended, KeptProcess

_TIMED_OUT, _INTERRUPTED, _UNKNOWN_AGENT, _LARGE = 124, 130, 127, 123
_GRACE_SECONDS = 10.0


def run(prompt: str, agent: str, *, workers: int, env: Mapping[str, str], timeout: float | None) -> int:
    """Run a prompt ``workers`` times side by side; return the exit code of the first that failed."""
    if agent not in AGENTS:
        os.write(2, f"ado: this machine does not offer {agent}; it offers {', '.join(AGENTS)}\n".encode())
        return _UNKNOWN_AGENT
    return asyncio.run(_run(prompt, agent, workers, env, timeout))


async def _run(prompt: str, agent: str, workers: int, env: Mapping[str, str], timeout: float | None) -> int:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    jobs: list[dict[str, Any]] = [
        {"prompt": prompt, "agent": agent, "job": index, "workers": workers} for index in range(workers)
    ]
    codes = await asyncio.gather(*(_run_one(job, env, timeout, interrupted) for job in jobs))
    if interrupted.is_set():
        return _INTERRUPTED
    return next((code for code in codes if code), 0)


async def _run_one(
    job: Mapping[str, Any], env: Mapping[str, str], timeout: float | None, interrupted: asyncio.Event
) -> int:
    names = {"ADO_JOB_INDEX": str(job["job"]), "ADO_WORKER_COUNT": str(job["workers"])}
    agent = AGENTS[job["agent"]]
    launch = agent.launch(Run(job["prompt"], Path.cwd(), Path.home(), local=True))
    process = await KeptProcess.start(
        launch.argv, env={**os.environ, **launch.env, **env, **names}, cwd=str(Path.cwd())
    )
    os.close(process.events)
    head = f"[{job['job']}] ".encode() if job["workers"] > 1 else b""
    copies = [
        asyncio.create_task(_copy(fd, stream, target, head))
        for fd, stream, target in ((process.stdout, "stdout", 1), (process.stderr, "stderr", 2))
    ]
    ending = asyncio.create_task(process.ended())
    stopping = asyncio.create_task(interrupted.wait())
    done, _ = await asyncio.wait([ending, stopping], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    if ending not in done:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ending), _GRACE_SECONDS)
        process.kill()
    ended = await ending
    stopping.cancel()
    await asyncio.gather(*copies, stopping, return_exceptions=True)
    process.close()
    return _TIMED_OUT if not done else _code(ended)


async def _copy(fd: int, stream: str, target: int, head: bytes) -> None:
    outbox = Outbox(1024 * 1024)
    reader = PipeReader(fd, stream, outbox)
    reader.done.add_done_callback(lambda _: outbox.close())
    rest = b""
    while events := await outbox.take_bytes():
        if not head:
            _write(target, events)
            continue
        *lines, rest = (rest + events).split(b"\n")
        _write(target, b"".join(head + line + b"\n" for line in lines))
    if rest:
        _write(target, head + rest + b"\n")


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _code(ended: Ended) -> int:
    if ended.error is not None:
        os.write(2, f"ado: the agent could not be started: {ended.error}\n".encode())
        return 1
    if ended.signal is not None:
        return _LARGE
    return min(ended.exit_code or 0, _LARGE)
