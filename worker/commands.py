"""The task's own commands around its agent: the setup before it, and the checks after its turns.

Each runs by ``/bin/sh`` in the agent's directory, sandbox and environment, under a keeper of its own, so that nothing
of it survives. It ends by itself, by its time limit, or by a stop of the attempt. Its output is in the log under the
name ``setup`` or ``check``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from worker.agents.verdict import Outcome
from worker.machine_health import MachineUnfit
from worker.output.buffer import Outbox
from worker.output.event_pipe import EventPipe, OnEvent
from worker.output.masking import Secrets
from worker.output.pipes import OutputReader
from worker.output.wire_events import clean_text
from worker.processes.process import KeptProcess, ProcessEnd
from worker.settings import WorkerSettings
from worker.task_group import task_group
from worker.turn import Stop

_TIMED_OUT = 124  # as timeout(1) ends
_NOT_RUN = (126, 127)  # as a shell ends if it may not run a command, or there is none
_TAIL_BYTES = 4000
_NAME_CHARS = 200

NO_COMMANDS: Mapping[str, Any] = {"commands": (), "tries": 1}

Start = Callable[[str], Awaitable[KeptProcess]]
"""Starts a command line under a keeper, as the attempt's agent is started. Raises OSError."""


class CommandSetting(Protocol):
    """What commands have in common with the turns of their agent."""

    @property
    def settings(self) -> WorkerSettings:
        """How long a stop and the last output may take."""

    @property
    def outbox(self) -> Outbox:
        """Where output and events go."""

    @property
    def secrets(self) -> Secrets:
        """What is masked in the output."""

    @property
    def stop(self) -> Stop:
        """The request to stop."""

    @property
    def on_job_event(self) -> OnEvent:
        """Called with each event that a command writes itself."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code as a shell counts it, its time, and the end of its output."""

    command: str
    exit_code: int
    seconds: float
    tail: str
    limit: float | None = None
    """The time limit that ended it; None if it ended by itself."""

    @property
    def failure(self) -> str:
        """What failed, and why."""
        name = clean_text(self.command, _NAME_CHARS)
        if self.limit is not None:
            return f"{name!r} took longer than {self.limit:g} s (--check-timeout)"
        if self.exit_code in _NOT_RUN:
            last = self.tail.strip().splitlines()[-1:]
            return f"{name!r} could not be run: {last[0] if last else f'exit code {self.exit_code}'}"
        return f"{name!r} ended with exit code {self.exit_code}"


class Commands:
    """The setup and the checks of one attempt."""

    def __init__(self, wish: Mapping[str, Any], setting: CommandSetting, start: Start, *, mends: bool) -> None:
        self._wish = wish
        self._setting = setting
        self._start = start
        self._tries = int(wish["tries"]) if mends else 1
        self._tried = 0

    async def set_up(self) -> Outcome | None:
        """Run the setup; return how the attempt ends if it fails, or was stopped meanwhile."""
        command = self._wish.get("setup")
        if not command or self._setting.stop.outcome is not None:
            return self._setting.stop.outcome if command else None
        ended = await self._run(command, "setup")
        if self._setting.stop.outcome is not None or not ended.exit_code:
            return self._setting.stop.outcome
        return Outcome("failed", ended.exit_code, "setup_failed", f"the setup {ended.failure}")

    async def check(self, turn: Outcome) -> tuple[Outcome, list[str]]:
        """Run the checks after a turn that succeeded, up to the first that fails.

        Returns how the attempt ends, and the words with which the agent's next turn begins; none if it ends.
        """
        if turn.outcome != "succeeded" or not self._wish["commands"]:
            return turn, []
        if self._setting.stop.requested.is_set():  # after the turn's end; work that was not checked is no success
            return self._setting.stop.outcome or turn, []
        self._tried += 1
        for command in self._wish["commands"]:
            ended = await self._run(command, "check")
            if self._setting.stop.outcome is not None:
                return self._setting.stop.outcome, []
            self._setting.outbox.put({
                "type": "check", "command": command, "exitCode": ended.exit_code, "try": self._tried,
                "seconds": round(ended.seconds, 3),
            })  # fmt: skip
            if ended.exit_code:
                return self._failed(turn, ended)
        return turn, []

    def _failed(self, turn: Outcome, ended: Ended) -> tuple[Outcome, list[str]]:
        """Return the words about a check that failed, or the failure if the agent cannot mend it or is out of tries."""
        if self._tried < self._tries and ended.exit_code not in _NOT_RUN:
            output = f" The end of its output:\n\n{ended.tail}" if ended.tail.strip() else " It wrote nothing."
            words = f"A check of your work has failed: {ended.failure}.{output}\n\nCorrect your work so that it passes."
            return turn, [words]
        tries = f" at try {self._tried} of {self._tries}" if self._tries > 1 else ""
        return Outcome("failed", ended.exit_code, "check_failed", f"the check {ended.failure}{tries}"), []

    async def _run(self, command: str, source: Literal["setup", "check"]) -> Ended:
        """Run one command to its end, and leave nothing of it behind. Raises OSError and MachineUnfit."""
        setting, tail = self._setting, bytearray()

        def keep(data: bytes) -> None:
            tail.extend(data)
            del tail[:-_TAIL_BYTES]

        begun = time.monotonic()
        process = await self._start(command)
        ending = asyncio.create_task(process.ended(), name=f"{source} end")
        pipes = [(process.stdout, source), (process.stderr, source)]
        output = OutputReader(pipes, setting.outbox, setting.secrets, keep)
        try:
            limit = await self._follow(process, ending, output)
        finally:
            process.kill()
            await asyncio.gather(ending, return_exceptions=True)
            output.close()
            process.close()
        end = ending.result()
        if end.is_short_of_resources:
            raise MachineUnfit(end.error)
        if end.error is not None:
            raise OSError(end.error)
        code = _TIMED_OUT if limit is not None else end.code or 0
        return Ended(command, code, time.monotonic() - begun, tail.decode("utf-8", "replace"), limit)

    async def _follow(
        self, process: KeptProcess, ending: asyncio.Task[ProcessEnd], output: OutputReader
    ) -> float | None:
        """Read the output until the command has ended; end it at its limit or a stop. Return the limit it reached."""
        setting, limit = self._setting, float(self._wish["timeoutSeconds"])
        events = EventPipe(process.events, setting.outbox, setting.secrets, setting.on_job_event)
        async with task_group() as group:
            reading = [group.create_task(part, name="pipe") for part in (events.run(), _ended(output))]
            stopping = group.create_task(setting.stop.requested.wait(), name="stop")
            done, _ = await asyncio.wait([ending, stopping], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if ending not in done:
                process.terminate()
                await asyncio.wait([ending], timeout=setting.settings.grace_seconds)
                process.kill()
                await asyncio.wait([ending])
            stopping.cancel()
            await asyncio.wait(reading, timeout=setting.settings.output_seconds)
            for task in reading:  # a process that could not be killed holds its pipes open
                task.cancel()
        return None if done else limit


async def _ended(output: OutputReader) -> None:
    await asyncio.shield(output.done)
