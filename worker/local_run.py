"""Running an agent here, without a server: the user's own directory, HOME and environment.

The agent runs under a keeper, so that nothing of it survives, with the user's own settings; it may edit files. What it
does and writes is handed to ``show`` as events. Ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from worker import local_input
from worker.agents import AGENTS
from worker.agents.base import Agent, AgentReader, Outcome, Run, exit_outcome
from worker.agents.stream import AgentStream
from worker.output.buffer import Outbox
from worker.output.lines import bounded_lines
from worker.output.pipes import OutputReader
from worker.processes.keeper import become_subreaper
from worker.processes.process import KeptProcess, ProcessEnd

_TIMED_OUT, _INTERRUPTED, _UNKNOWN_AGENT, _NOT_ALLOWED = 124, 130, 127, 126
_GRACE_SECONDS = 10.0
_BUFFER_BYTES = 1024 * 1024
Show = Callable[[dict[str, Any]], object]


def run(
    prompt: str,
    agent: str,
    *,
    workers: int,
    env: Mapping[str, str],
    args: Mapping[str, Any],
    timeout: float | None,
    show: Show,
    stdin: bool = False,
) -> int:
    """Run a prompt ``workers`` times side by side; return the exit code of the first that failed.

    With ``stdin`` the one agent reads this process's own.
    """
    if agent not in AGENTS:
        os.write(2, f"ado: there is no agent {agent!r}; there are: {', '.join(AGENTS)}\n".encode())
        os.write(2, b"ado: choose one with --agent; ado doctor --agents says which AI agents can start here\n")
        return _UNKNOWN_AGENT
    jobs = [
        {"prompt": prompt, "agent": agent, "job": index, "workers": workers, "args": args, "stdin": stdin}
        for index in range(workers)
    ]
    become_subreaper()  # what a killed keeper leaves behind comes here
    return asyncio.run(_run(jobs, env, timeout, show))


async def _run(jobs: list[dict[str, Any]], env: Mapping[str, str], timeout: float | None, show: Show) -> int:
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    codes = await asyncio.gather(*(_run_one(job, env, timeout, interrupted, show) for job in jobs))
    if interrupted.is_set():
        return _INTERRUPTED
    return next((code for code in codes if code), 0)


async def _run_one(
    job: Mapping[str, Any], env: Mapping[str, str], timeout: float | None, interrupted: asyncio.Event, show: Show
) -> int:
    agent = AGENTS[job["agent"]]
    own = {**os.environ, **env, "ADO_JOB_INDEX": str(job["job"]), "ADO_WORKER_COUNT": str(job["workers"])}
    run = Run(job["prompt"], Path.cwd(), Path.home(), args=job["args"], env=own, local=True, stdin=job["stdin"])
    try:
        process = await _start(agent, run, own)
    except OSError as error:
        return _say_failed(f"the agent could not be started: {error}", 1)
    reader = agent.reader(run)
    copies = _copies(job, process, show) if reader is None else _shown(job, process, reader, show)
    copies.append(asyncio.create_task(_drop_events(process.events), name="events"))
    for copy in copies:
        copy.add_done_callback(lambda done: process.kill() if not done.cancelled() and done.exception() else None)
    ended = await _end_of(process, timeout, interrupted)
    failures = [found for found in await asyncio.gather(*copies, return_exceptions=True) if found is not None]
    process.close()
    if failures:  # nobody takes the output any more, or there is no room for it
        raise failures[0]
    if ended is None:
        return _say_failed(f"timed out after {timeout:g} s (--timeout); give it longer with --timeout", _TIMED_OUT)
    if interrupted.is_set():
        return _INTERRUPTED
    show({"type": "finished", "job": job["job"], "at": ""})
    return _code(exit_outcome(ended), ended) if reader is None else _verdict(reader.outcome(ended))


async def _start(agent: Agent, run: Run, own: Mapping[str, str]) -> KeptProcess:
    """Start an agent; with ``run.stdin`` it reads this process's stdin. Raises OSError."""
    launch = agent.launch(run)
    fed = run.stdin and local_input.needs_pipe(launch.stdin)
    source = launch.stdin if fed or not run.stdin else local_input.STDIN
    process = await KeptProcess.start(
        launch.argv, env={**own, **launch.env}, cwd=str(run.directory), stdin=source, fed=fed
    )
    if fed:
        local_input.feed(process, launch.stdin)
    return process


async def _drop_events(fd: int) -> None:
    """Read a job's events, which nobody is told here: else the job would be killed for them."""
    async with contextlib.aclosing(bounded_lines(fd, 0)) as lines:
        async for _ in lines:
            pass


async def _end_of(process: KeptProcess, timeout: float | None, interrupted: asyncio.Event) -> ProcessEnd | None:
    """Wait for the end, and bring it about after ``timeout`` (None is returned) or when interrupted."""
    ending = asyncio.create_task(process.ended(), name="agent end")
    stopping = asyncio.create_task(interrupted.wait(), name="interrupt")
    done, _ = await asyncio.wait([ending, stopping], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    if ending not in done:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ending), _GRACE_SECONDS)
        process.kill()
    ended = await ending
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    return ended if done else None


def _shown(job: Mapping[str, Any], process: KeptProcess, reader: AgentReader, show: Show) -> list[asyncio.Task[None]]:
    """Read an AI agent, and hand on what it says and does."""
    outbox = Outbox(_BUFFER_BYTES)
    listener = AgentStream(process.stdout, reader, outbox, directory=str(Path.cwd()))
    errors = OutputReader([(process.stderr, "stderr")], outbox, heard=listener.feed_stderr)

    async def read() -> None:
        await listener.run()
        await errors.done
        outbox.close()

    async def hand_on() -> None:
        while events := await outbox.take(1000, _BUFFER_BYTES):
            for event in events:
                show({**orjson.loads(event), "job": job["job"]})

    return [asyncio.create_task(read(), name="listener"), asyncio.create_task(hand_on(), name="show")]


def _copies(job: Mapping[str, Any], process: KeptProcess, show: Show) -> list[asyncio.Task[None]]:
    """Hand on the agent's output, in the order in which it was written."""
    outbox = Outbox(_BUFFER_BYTES)
    reader = OutputReader([(process.stdout, "stdout"), (process.stderr, "stderr")], outbox)
    reader.done.add_done_callback(lambda _: outbox.close())

    async def copy() -> None:
        while chunks := await outbox.take_chunks():
            for chunk in chunks:
                show({"type": "output", "job": job["job"], "at": "", "stream": chunk.stream, "data": bytes(chunk.data)})

    return [asyncio.create_task(copy(), name="output")]


def _say_failed(message: str, code: int) -> int:
    os.write(2, f"ado: {message}\n".encode())
    return code


def _code(outcome: Outcome, ended: ProcessEnd) -> int:
    if ended.error is not None:
        return _say_failed(f"the agent could not be started: {outcome.message}", 1)
    if ended.signal is not None:
        return _say_failed(str(outcome.message), 128 + ended.signal)
    return ended.exit_code or 0


def _verdict(outcome: Outcome) -> int:
    """Return the exit code of an AI agent's run, and say what was wrong with it."""
    if outcome.outcome == "succeeded":
        return 0
    code = _NOT_ALLOWED if outcome.reason == "permission_denied" else outcome.exit_code or 1
    return _say_failed(f"{outcome.reason}: {outcome.message}", code)
