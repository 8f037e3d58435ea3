"""One turn of an attempt: a process of the agent under its keeper, followed to its end.

A turn begins with a prompt or with words for the agent's session. A stop sends SIGTERM to the process tree, and SIGKILL
after ``grace_seconds``. An agent that takes words while it works gets messages, and answers to its questions, on its
stdin; any other gets messages in its next turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.agent_output import AgentOutput
from worker.agents.base import AgentReader, Launch
from worker.agents.requests import AgentRequest
from worker.agents.stream import AgentStream
from worker.agents.verdict import BUDGET, Event, Outcome
from worker.budget import JobBudget
from worker.input_feed import InputFeed, Subscribe
from worker.machine_health import MachineUnfit
from worker.mailbox import Mailbox
from worker.memory_kills import MemoryWatch
from worker.message_feed import MessageFeed
from worker.output.buffer import Outbox
from worker.output.event_pipe import EventPipe, OnEvent
from worker.output.masking import Secrets
from worker.output.wire_events import clean_text
from worker.processes.process import KeptProcess, ProcessEnd
from worker.questions import Questions
from worker.rate_limits import RateLimits
from worker.repository.checkpoint import CheckpointSaver
from worker.settings import WorkerSettings
from worker.task_group import task_group

_KEEPS_WORKER = "this job keeps its worker while its question waits: no session is saved that it could go on with"
_MESSAGE_CHARS = 9000  # a server takes 10,000 characters
_TIMEOUT_MARGIN_SECONDS = 30.0  # the server's clock ends jobs in time; the worker's only acts if the server does not


class Stop:
    """The request to stop an attempt, and the outcome to report; the first request counts."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self.outcome: Outcome | None = None

    def request(self, outcome: Outcome) -> None:
        """Stop the agent and report ``outcome``; later calls change nothing."""
        if self.outcome is None:
            self.outcome = outcome
            self.requested.set()

    async def unless(self, work: Coroutine[Any, Any, Outcome | None]) -> Outcome | None:
        """Return what ``work`` returns, or if a stop is requested first, the outcome to report."""
        working = asyncio.create_task(work, name="wait")
        stopping = asyncio.create_task(self.requested.wait(), name="stop")
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            return self.outcome if self.requested.is_set() else working.result()
        finally:
            working.cancel()
            stopping.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class TurnSetting:
    """What the turns of an attempt have in common."""

    settings: WorkerSettings
    fence: Mapping[str, Any]
    outbox: Outbox
    secrets: Secrets
    mailbox: Mailbox
    questions: Questions
    stop: Stop
    budget: JobBudget
    limits: RateLimits
    memory: MemoryWatch
    subscribe: Subscribe
    job_dir: str
    timeout: float | None
    """The longest time of the attempt in seconds; None: any."""
    on_event: Callable[[Event], object]
    """Called with each event of an AI agent."""
    on_job_event: OnEvent
    """Called with each event that the job writes itself."""
    checkpoints: CheckpointSaver | None


async def hold_question(setting: TurnSetting) -> None:
    """Hand the job back once a question has waited for long; say why not if the agent's session cannot be resumed."""
    await setting.questions.outlast(setting.settings.question_hold_seconds)
    if setting.checkpoints and (await asyncio.to_thread(setting.checkpoints.session_state)).session:
        setting.questions.hold()
        setting.stop.request(Outcome("released", None, "question"))
    else:
        setting.outbox.put({"type": "progress", "message": _KEEPS_WORKER})


class Turn:
    """One process of the agent. The messages that were given to it before are part of its prompt."""

    def __init__(self, setting: TurnSetting, process: KeptProcess, launch: Launch, reader: AgentReader | None) -> None:
        self._setting = setting
        self._process = process
        self._launch = launch
        self._reader = reader
        self._words = MessageFeed(process, launch.line, setting.mailbox, setting.budget) if launch.line else None
        self._with_prompt = setting.mailbox.given
        self._requests: asyncio.Queue[AgentRequest] = asyncio.Queue()
        self._stream: AgentStream | None = None
        self._over_budget = asyncio.Event()
        self._is_refused = False
        """Whether it was stopped because the model's service refuses it."""
        self._is_terminated = False
        """Whether the agent was sent SIGTERM."""

    async def run(self) -> Outcome:
        """Follow the process, and leave nothing of it behind."""
        process, setting = self._process, self._setting
        setting.budget.begin_turn()
        setting.limits.begin_turn()
        ending = asyncio.create_task(process.ended(), name="agent end")
        try:
            output = AgentOutput(
                process, self._reader, setting.outbox, setting.secrets, self._note_event, setting.job_dir
            )
            try:
                return await self._follow(ending, output)
            finally:
                output.close()
        finally:
            process.kill()
            await asyncio.gather(ending, return_exceptions=True)
            process.close()
            setting.mailbox.take_back()
            setting.budget.end_process()

    async def _follow(self, ending: asyncio.Task[ProcessEnd], output: AgentOutput) -> Outcome:
        """Read what the agent writes until it ends. Raises the first error of any part at once."""
        setting = self._setting
        self._stream = output.stream
        events = EventPipe(self._process.events, setting.outbox, setting.secrets, setting.on_job_event)
        if self._reader is None:
            setting.mailbox.confirm(self._with_prompt)
        async with task_group() as group:
            reading = [group.create_task(part.run(), name=type(part).__name__) for part in (output, events)]
            beside = [group.create_task(work, name=name) for name, work in self._companions(output.stream)]
            end = await asyncio.shield(ending)
            if end.is_short_of_resources:
                raise MachineUnfit(end.error)
            self._report_survivors(end)
            for task in beside:  # a stop after the agent's end is not its cause
                task.cancel()
            await asyncio.wait(beside)
            await asyncio.wait(reading, timeout=setting.settings.output_seconds)
            outcome = self._apply_stop(setting.memory.explain(output.outcome(end)))
            for task in reading:  # a process that could not be killed holds its pipes open
                task.cancel()
        return outcome

    def _companions(self, stream: AgentStream | None) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Yield what runs beside the agent and ends with it, each with its name."""
        setting, text = self._setting, self._launch.stdin
        yield "stopper", self._stop_process()
        yield "budget", self._keep_budget()
        yield "limits", self._keep_limits()
        if self._words is not None:
            yield "words", self._words.run(text)
            yield "requests", self._ask_people(self._words, stream)
        elif self._process.stdin is not None:
            feed = InputFeed(self._process, setting.subscribe, setting.fence, setting.stop.request)
            yield "input", feed.run(text)
        if setting.checkpoints is not None:
            yield "checkpoints", setting.checkpoints.run()
        yield "question", hold_question(setting)
        if stream is not None:
            yield "silence", self._watch_silence(stream)

    def _note_event(self, event: Event) -> None:
        """Note what an event says about the messages that the agent was given."""
        assert self._reader is not None
        if event["event"] == "session":
            self._setting.mailbox.confirm(self._with_prompt)
        if self._words is not None:
            self._setting.mailbox.confirm(self._words.names(self._reader.confirmed))
            self._reader.confirmed.clear()
            if event["event"] == "result":
                self._words.turn_ended()
            while self._reader.requests:
                self._requests.put_nowait(self._reader.requests.pop(0))
        self._setting.on_event(event)
        self._setting.limits.note(event)
        if event["event"] == "result":
            self._setting.budget.end_turn()
        elif event["event"] == "tool_end" and self._setting.budget.is_spent and not self._runs_tools():
            self._over_budget.set()

    def _runs_tools(self) -> bool:
        return self._stream is not None and self._stream.runs_tools

    async def _ask_people(self, words: MessageFeed, stream: AgentStream | None) -> None:
        """Ask a person what the agent asks, and write the answers to its stdin."""

        async def ask(request: AgentRequest) -> None:
            asked = [question.within(self._setting.job_dir) for question in request.questions]
            answers = [await self._setting.questions.ask(question) for question in asked]
            words.reply(request.reply(answers))
            if stream is not None:
                stream.note_activity()  # it was silent because it waited

        async with task_group() as group:
            while True:
                group.create_task(ask(await self._requests.get()), name="question")

    def _report_survivors(self, end: ProcessEnd) -> None:
        for survivor in end.survivors:
            message = clean_text(f"a process of this job could not be ended: {survivor}", _MESSAGE_CHARS)
            self._setting.outbox.put({"type": "progress", "message": message})

    def _apply_stop(self, outcome: Outcome) -> Outcome:
        """Return the reason for the stop if the agent was stopped: its exit code alone may say success."""
        stop = self._setting.stop.outcome
        if self._is_terminated and self._over_budget.is_set() and outcome.outcome != "succeeded":
            outcome = Outcome("failed", outcome.exit_code, BUDGET)
        elif self._is_refused and outcome.reason == "no_result":  # it was just going on
            outcome = Outcome("failed", outcome.exit_code, "rate_limited", outcome.message)
        if stop is None or not self._is_terminated:
            return outcome
        return Outcome(stop.outcome, outcome.exit_code, stop.reason, stop.message)

    async def _stop_process(self) -> None:
        setting, limit = self._setting, self._setting.timeout
        try:
            async with asyncio.timeout(limit + _TIMEOUT_MARGIN_SECONDS if limit else None):
                await setting.stop.requested.wait()
        except TimeoutError:
            setting.stop.request(Outcome("failed", None, "timed_out", "the attempt took longer than the task allows"))
        await self._end_process()

    async def _keep_budget(self) -> None:
        await self._over_budget.wait()
        await self._end_process()

    async def _keep_limits(self) -> None:
        await self._setting.limits.exceeded()
        self._is_refused = True
        await self._end_process()

    async def _end_process(self) -> None:
        self._is_terminated = True
        self._process.terminate()
        await asyncio.sleep(self._setting.settings.grace_seconds)
        self._process.kill()

    async def _watch_silence(self, stream: AgentStream) -> None:
        seconds = self._setting.settings.agent_idle_seconds
        setting = self._setting
        await stream.stalled(seconds, is_waiting=lambda: setting.questions.are_open or setting.limits.is_waiting)
        assert self._reader is not None
        self._setting.stop.request(self._reader.stalled(seconds))
