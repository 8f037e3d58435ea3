"""Runs an agent on this machine without a server: in the user's directory, with the user's HOME and environment.

The agent runs under a keeper, so none of its processes survives. It has the user's own settings and may edit files.
Its output and its events go to ``show``. Ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from worker.agent_output import AgentOutput
from worker.agents import AGENTS
from worker.agents.base import Agent, Run
from worker.agents.verdict import Outcome, exit_outcome
from worker.output.buffer import Outbox
from worker.output.lines import bounded_lines
from worker.processes.keeper import become_subreaper
from worker.processes.process import KeptProcess, ProcessEnd
from worker.task_group import task_group

_TIMED_OUT, _INTERRUPTED, _UNKNOWN_AGENT, _NOT_ALLOWED = 124, 130, 127, 126
_GRACE_SECONDS = 10.0
_BUFFER_BYTES = 1024 * 1024
_BATCH_EVENTS = 1000
_STDIN = 0
_STDIN_BYTES = 64 * 1024
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
    """Run a prompt ``workers`` times side by side; return the exit code of the first run that failed.

    With ``stdin`` the only agent reads this process's own stdin.
    """
    if agent not in AGENTS:
        os.write(2, f"ado: there is no agent {agent!r}; there are: {', '.join(AGENTS)}\n".encode())
        os.write(2, b"ado: choose one with --agent; ado doctor --agents says which AI agents can start here\n")
        return _UNKNOWN_AGENT
    jobs = [
        {"prompt": prompt, "agent": agent, "job": index, "workers": workers, "args": args, "stdin": stdin}
        for index in range(workers)
    ]
    become_subreaper()  # the orphans of a killed keeper become children of this process, which then kills them
    return asyncio.run(_run_all(jobs, env, timeout, show))


async def _run_all(jobs: list[dict[str, Any]], env: Mapping[str, str], timeout: float | None, show: Show) -> int:
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
        return _print_failure(f"the agent could not be started: {error}", 1)
    reader = agent.reader(run)
    ending = asyncio.create_task(process.ended(), name="agent end")
    outbox = Outbox(_BUFFER_BYTES)
    output = AgentOutput(process, reader, outbox, directory=str(run.directory))
    try:
        async with task_group() as group:  # an error of show ends the agent: nobody reads its output any more
            group.create_task(_show_events(outbox, job["job"], show), name="show")
            async with task_group() as reading:
                reading.create_task(output.run(), name="output")
                reading.create_task(_drop_events(process.events), name="events")
                in_time = await _wait_for_end(process, ending, timeout, interrupted)
            outbox.close()
        end = await ending
    finally:
        process.kill()
        await asyncio.gather(ending, return_exceptions=True)
        output.close()
        process.close()
    if not in_time:
        return _print_failure(f"timed out after {timeout:g} s (--timeout); give it longer with --timeout", _TIMED_OUT)
    if interrupted.is_set():
        return _INTERRUPTED
    show({"type": "finished", "job": job["job"], "at": ""})
    return _program_exit_code(end) if reader is None else _agent_exit_code(reader.outcome(end))


async def _start(agent: Agent, run: Run, own: Mapping[str, str]) -> KeptProcess:
    """Start an agent; with ``run.stdin`` it reads this process's stdin. Raises OSError.

    A pipe or a file is passed on as it is, so bytes that the agent does not read stay there. A terminal is not: the
    agent is not in its foreground group, so a read would fail. Its input goes through a pipe, and so does the input
    after a prompt that is too long for an argument.
    """
    launch = agent.launch(run)
    fed = run.stdin and (bool(launch.stdin) or os.isatty(_STDIN))
    source = launch.stdin if fed or not run.stdin else _STDIN
    process = await KeptProcess.start(
        launch.argv, env={**own, **launch.env}, cwd=str(run.directory), stdin=source, fed=fed
    )
    if fed:
        assert process.stdin is not None
        pipe = os.dup(process.stdin)
        process.close_stdin()
        os.set_blocking(pipe, True)
        # a daemon thread, because only the end of this process can end a blocking read of a terminal
        threading.Thread(target=_feed_stdin, args=(pipe, launch.stdin), name="stdin", daemon=True).start()
    return process


def _feed_stdin(pipe: int, text: str) -> None:
    """Write a text and then this process's stdin to a pipe, and close it."""
    with contextlib.suppress(OSError), os.fdopen(pipe, "wb", buffering=0) as target:  # the agent may end before
        data = text.encode("utf-8", "surrogateescape")
        while data or (data := os.read(_STDIN, _STDIN_BYTES)):
            data = data[target.write(data) :]


async def _drop_events(fd: int) -> None:
    """Read the job's events pipe to its end and ignore it: a closed pipe would end the job by SIGPIPE."""
    async with contextlib.aclosing(bounded_lines(fd, 0)) as lines:
        async for _ in lines:
            pass


async def _wait_for_end(
    process: KeptProcess, ending: asyncio.Task[ProcessEnd], timeout: float | None, interrupted: asyncio.Event
) -> bool:
    """Wait until a process has ended, and end it after ``timeout`` or an interrupt; return False after a timeout."""
    stopping = asyncio.create_task(interrupted.wait(), name="interrupt")
    try:
        done, _ = await asyncio.wait([ending, stopping], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if ending not in done:
            process.terminate()
            await asyncio.wait([ending], timeout=_GRACE_SECONDS)
            process.kill()
            await asyncio.wait([ending])
    finally:
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
    return bool(done)


async def _show_events(outbox: Outbox, job: int, show: Show) -> None:
    while events := await outbox.take(_BATCH_EVENTS, _BUFFER_BYTES):
        for event in events:
            show({**orjson.loads(event), "job": job})


def _print_failure(message: str, code: int) -> int:
    os.write(2, f"ado: {message}\n".encode())
    return code


def _program_exit_code(end: ProcessEnd) -> int:
    """Return the exit code of a program that is not an AI agent, and print why it has none of its own."""
    message = exit_outcome(end).message
    if end.error is not None:
        return _print_failure(f"the agent could not be started: {message}", 1)
    if end.signal is not None:
        return _print_failure(str(message), 128 + end.signal)
    return end.exit_code or 0


def _agent_exit_code(outcome: Outcome) -> int:
    """Return the exit code of an AI agent's run, and print why it failed."""
    if outcome.outcome == "succeeded":
        return 0
    code = _NOT_ALLOWED if outcome.reason == "permission_denied" else outcome.exit_code or 1
    return _print_failure(f"{outcome.reason}: {outcome.message}", code)
