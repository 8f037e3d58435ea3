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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from worker.agent_output import AgentOutput
from worker.agents import AGENTS
from worker.agents.base import Agent, AgentReader, Run
from worker.agents.verdict import Outcome
from worker.agents.words import next_turn
from worker.allocation import allocate
from worker.commands import Commands
from worker.machine_health import MachineUnfit
from worker.output.buffer import Outbox
from worker.output.lines import bounded_lines
from worker.output.masking import NO_SECRETS, Secrets
from worker.output.write_order import expect_writes
from worker.processes.keeper import become_subreaper
from worker.processes.process import KeptProcess, ProcessEnd
from worker.settings import WorkerSettings
from worker.task_group import task_group
from worker.turn import Stop

_INTERRUPTED, _UNKNOWN_AGENT = 130, 127
_CODES = {"timed_out": 124, "permission_denied": 126}
_PLAIN_REASONS = ("timed_out", "exit_nonzero", "start_failed")
"""Reasons that their messages repeat."""
_GRACE_SECONDS = 10.0
_BUFFER_BYTES = 1024 * 1024
_BATCH_EVENTS = 1000
_STDIN = 0
_STDIN_BYTES = 64 * 1024
Show = Callable[[dict[str, Any]], object]


@dataclass(frozen=True, slots=True)
class _LocalSetting:
    """What the setup, the turns and the checks of one run have in common."""

    outbox: Outbox = field(default_factory=lambda: Outbox(_BUFFER_BYTES))
    stop: Stop = field(default_factory=Stop)
    secrets: Secrets = NO_SECRETS
    settings: WorkerSettings = field(default_factory=WorkerSettings)

    def on_job_event(self, event: Mapping[str, Any]) -> None:
        """Do nothing: nothing depends on what a job writes itself."""


def run(
    prompt: str,
    agent: str,
    *,
    workers: int,
    env: Mapping[str, str],
    args: Mapping[str, Any],
    timeout: float | None,
    checks: Mapping[str, Any],
    show: Show,
    stdin: bool = False,
) -> int:
    """Run a prompt ``workers`` times side by side; return the exit code of the first run that failed.

    ``checks`` are the task's setup and checks. With ``stdin`` the only agent reads this process's own stdin.
    """
    if agent not in AGENTS:
        os.write(2, f"ado: there is no agent {agent!r}; there are: {', '.join(AGENTS)}\n".encode())
        os.write(2, b"ado: choose one with --agent; ado doctor --agents says which AI agents can start here\n")
        return _UNKNOWN_AGENT
    jobs = [
        {"prompt": prompt, "agent": agent, "job": index, "workers": workers, "args": args, "stdin": stdin,
         "checks": checks}
        for index in range(workers)
    ]  # fmt: skip
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
    setting = _LocalSetting()
    async with task_group() as group:  # an error of show ends the agent: nobody reads its output any more
        group.create_task(_show_events(setting.outbox, job["job"], show), name="show")
        watching = group.create_task(_stop_in_time(setting.stop, timeout, interrupted), name="stop")
        try:
            async with allocate(setting.settings) as allocation:
                outcome = await _take_turns(job, {**env, **allocation.env}, setting)
        except (OSError, MachineUnfit) as error:
            outcome = Outcome("failed", 1, "start_failed", f"the agent could not be started: {error}")
        finally:
            watching.cancel()
            setting.outbox.close()
    if setting.stop.outcome is None and outcome.reason != "start_failed":
        show({"type": "finished", "job": job["job"], "at": ""})
    return _exit_code(outcome)


async def _stop_in_time(stop: Stop, timeout: float | None, interrupted: asyncio.Event) -> None:
    """Request a stop after ``timeout`` seconds, or at an interrupt."""
    try:
        async with asyncio.timeout(timeout):
            await interrupted.wait()
    except TimeoutError:
        message = f"timed out after {timeout:g} s (--timeout); give it longer with --timeout"
        stop.request(Outcome("failed", None, "timed_out", message))
    else:
        stop.request(Outcome("cancelled"))


async def _take_turns(job: Mapping[str, Any], env: Mapping[str, str], setting: _LocalSetting) -> Outcome:
    """Run the setup, and the agent until its work passes the checks. Raises OSError and MachineUnfit."""
    agent = AGENTS[job["agent"]]
    own = {**os.environ, **env, "ADO_JOB_INDEX": str(job["job"]), "ADO_WORKER_COUNT": str(job["workers"])}
    run = Run(job["prompt"], Path.cwd(), Path.home(), args=job["args"], env=own, local=True, stdin=job["stdin"])
    commands = Commands(
        job["checks"],
        setting,
        lambda command: KeptProcess.start(
            ["/bin/sh", "-c", "--", command], env=own, cwd=str(run.directory), expect=expect_writes
        ),
        mends=agent.takes_messages,
    )
    if failure := await commands.set_up():
        return failure
    while True:
        reader = agent.reader(run)
        turn = await _take_turn(await _start(agent, run, own, reader), reader, setting, str(run.directory))
        outcome, words = await commands.check(turn)
        if not words:
            return outcome
        run = next_turn(agent, run, words, reader)


async def _take_turn(
    process: KeptProcess, reader: AgentReader | None, setting: _LocalSetting, directory: str
) -> Outcome:
    """Follow a process of the agent to its end, and leave nothing of it behind."""
    ending = asyncio.create_task(process.ended(), name="agent end")
    output = AgentOutput(process, reader, setting.outbox, directory=directory)
    try:
        async with task_group() as reading:
            reading.create_task(output.run(), name="output")
            reading.create_task(_drop_events(process.events), name="events")
            is_stopped = await _wait_for_end(process, ending, setting.stop)
        end = await ending
    finally:
        process.kill()
        await asyncio.gather(ending, return_exceptions=True)
        output.close()
        process.close()
    if is_stopped and setting.stop.outcome is not None:
        return setting.stop.outcome
    if end.error is not None:
        raise OSError(end.error)
    outcome = output.outcome(end)
    is_own_code = reader is None and end.signal is None  # the exit code of a program says enough
    return replace(outcome, message=None) if is_own_code else outcome


async def _start(agent: Agent, run: Run, own: Mapping[str, str], reader: AgentReader | None) -> KeptProcess:
    """Start an agent; with ``run.stdin`` it reads this process's stdin. Raises OSError.

    A pipe or a file is passed on as it is, so bytes that the agent does not read stay there. A terminal is not: the
    agent is not in its foreground group, so a read would fail. Its input goes through a pipe, and so does the input
    after a prompt that is too long for an argument.
    """
    launch, reads = agent.launch(run), run.stdin and not run.has_begun
    fed = reads and (bool(launch.stdin) or os.isatty(_STDIN))
    source = launch.stdin if fed or not reads else _STDIN
    process = await KeptProcess.start(
        launch.argv, env={**own, **launch.env}, cwd=str(run.directory), stdin=source, fed=fed,
        expect=expect_writes if reader is None else None,
    )  # fmt: skip
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


async def _wait_for_end(process: KeptProcess, ending: asyncio.Task[ProcessEnd], stop: Stop) -> bool:
    """Wait until a process has ended, and end it at a stop; return whether it was ended."""
    stopping = asyncio.create_task(stop.requested.wait(), name="stop")
    try:
        await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            return False
        process.terminate()
        await asyncio.wait([ending], timeout=_GRACE_SECONDS)
        process.kill()
        await asyncio.wait([ending])
        return True
    finally:
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)


async def _show_events(outbox: Outbox, job: int, show: Show) -> None:
    while events := await outbox.take(_BATCH_EVENTS, _BUFFER_BYTES):
        for event in events:
            show({**orjson.loads(event), "job": job})


def _exit_code(outcome: Outcome) -> int:
    """Return the exit code of a run, and print why it failed if that is known."""
    if outcome.outcome != "failed":
        return 0 if outcome.outcome == "succeeded" else _INTERRUPTED
    code = _CODES.get(str(outcome.reason)) or outcome.exit_code or 1
    if outcome.message is None:
        return code
    prefix = "" if outcome.reason in _PLAIN_REASONS else f"{outcome.reason}: "
    os.write(2, f"ado: {prefix}{outcome.message}\n".encode())
    return code
