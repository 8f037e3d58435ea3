"""One attempt, from its directory to its finish; it ends in exactly one outcome.

Steps: make the directory, prepare the repository, start the agent under a keeper, send its output in batches until it
ends, send the rest of the output and the result, report the finish. A stop sends SIGTERM to the process tree, and
SIGKILL after ``grace_seconds``. A lost lease kills everything at once, and nothing more is sent, because the job may
already run elsewhere. The finish is sent until the server answers; until then heartbeats list the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from app.core.capabilities import NO_NETWORK, STDIN
from app.rpc.client import CallError
from worker.agent_output import AgentOutput
from worker.agents import AGENTS
from worker.agents.base import AgentReader, Launch, Run
from worker.agents.programs import lend_credentials
from worker.agents.stream import AgentStream
from worker.agents.verdict import TURN_ENDS, Outcome
from worker.fitness import Fitness, MachineUnfit, describe_error
from worker.input_feed import InputFeed, Subscribe
from worker.memory_kills import MemoryWatch
from worker.output.batches import BatchSender, Call, LeaseLost, until_answered
from worker.output.buffer import Outbox
from worker.output.event_pipe import EventPipe
from worker.output.mask_socket import registrar
from worker.output.masking import NO_SECRETS, Secrets
from worker.output.wire_events import ServerLimits, clean_text, result_that_fits, usage_that_fits
from worker.processes.directories import FILE_VARIABLES, AttemptDirectory, attempt_directory, environment
from worker.processes.process import KeeperBroken, KeptProcess, ProcessEnd, is_shortage
from worker.processes.removal import RemovalQueue
from worker.repository.checkpoint import SESSION_NAME, Checkpoint, SessionState, resumed
from worker.repository.job_repository import JobRepository
from worker.repository.transfers import AttemptFiles
from worker.sandbox.base import NO_SANDBOX, Sandbox, SandboxedStart
from worker.secret_store import PREFIX as SECRET
from worker.secret_store import SecretStore
from worker.settings import WorkerSettings
from worker.task_group import task_group

_log = logging.getLogger("ado.worker")
_MESSAGE_CHARS = 9000  # a server takes 10,000 characters
_TIMEOUT_MARGIN_SECONDS = 30.0  # the server's clock ends jobs in time; the worker's only acts if the server does not

FilesOf = Callable[[Mapping[str, Any]], AttemptFiles]
"""Makes the files of an attempt from its fence."""


def _valid_session(name: Any) -> str | None:
    """Return the name of a session, or None if it could not be part of a path: jobs and agents send any value."""
    return name if isinstance(name, str) and SESSION_NAME.fullmatch(name) else None


class Attempt:
    """A claimed job, from its claim to its finish."""

    def __init__(
        self,
        job: Mapping[str, Any],
        call: Call,
        settings: WorkerSettings,
        files_of: FilesOf,
        secret_store: SecretStore,
        fitness: Fitness,
        removals: RemovalQueue,
        limits: ServerLimits,
        sandbox: Sandbox = NO_SANDBOX,
        *,
        subscribe: Subscribe,
    ) -> None:
        self.job = job
        self.key: tuple[str, int] = (job["jobId"], job["attempt"])
        self._call = call
        self._settings = settings
        self._secret_store = secret_store
        self._fitness = fitness
        self._removals = removals
        self._sandbox = sandbox
        self._subscribe = subscribe
        self._requires: Sequence[str] = job.get("requires") or ()
        self._secrets = NO_SECRETS
        self._mask_socket: dict[str, str] = {}
        self._fence = {"workerId": settings.worker_id, "jobId": job["jobId"], "attempt": job["attempt"]}
        if "credential" in job:  # a server of an older release gives none
            self._fence["credential"] = job["credential"]
        self._files = files_of(self._fence)
        self._outbox = Outbox(settings.buffer_bytes, limits.chunk_bytes)
        self._sender = BatchSender(call, self._outbox, self._fence, limits.batch_events)
        self._stopping = asyncio.Event()
        self._stop_outcome: Outcome | None = None
        self._is_terminated = False
        """Whether the agent was sent SIGTERM."""
        self._lost = asyncio.Event()
        self._reader: AgentReader | None = None
        self._session: str | None = None
        self._turn_ended: Callable[[], object] = lambda: None
        self._memory = MemoryWatch(alone=settings.slots == 1)

    def stop(self, outcome: Outcome) -> None:
        """Stop the agent and report ``outcome``; later calls change nothing."""
        if self._stop_outcome is None:
            self._stop_outcome = outcome
            self._stopping.set()

    def lose(self) -> None:
        """Kill the agent at once and send nothing more."""
        self._lost.set()

    async def run(self) -> None:
        """Run the attempt to its end."""
        losing = asyncio.create_task(self._lost.wait(), name="lease watch")
        working = asyncio.create_task(self._work(), name=f"attempt {self.key[0]}:{self.key[1]}")
        try:
            await asyncio.wait([losing, working], return_when=asyncio.FIRST_COMPLETED)
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError, LeaseLost):
                await working
        finally:
            losing.cancel()
            working.cancel()
            await asyncio.gather(losing, working, return_exceptions=True)

    async def _work(self) -> None:
        name = f"{self.job['taskId']}-{self.job['job']}"
        try:
            async with (
                attempt_directory(self._settings.work_dir, name, self._removals) as attempt_dir,
                registrar(attempt_dir.base, lambda: self._secrets) as self._mask_socket,
            ):
                outcome = await self._run_agent(attempt_dir)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - any error ends the job once; otherwise the job would run again
            outcome = self._outcome_of_error(error)
        await self._finish(outcome)

    def _outcome_of_error(self, error: Exception) -> Outcome:
        """Return how the attempt ends after an error; an unexpected one is logged."""
        match error:
            case MachineUnfit():
                return self._release_unfit(str(error))
            case OSError() if is_shortage(error.errno):
                return self._release_unfit(describe_error(error))
            case OSError() | KeyError():
                return Outcome("failed", None, "start_failed", f"the agent could not be started: {error}")
            case CallError():
                return Outcome("failed", None, "agent_error", f"the server refused the output: {error.message}")
            case KeeperBroken():
                return Outcome("failed", None, "worker_error", str(error))
        _log.error("attempt broke", exc_info=error, extra={"job": self.key[0], "attempt": self.key[1]})
        message = f"the worker made a mistake, see its log: {type(error).__name__}: {error}"
        return Outcome("failed", None, "worker_error", message)

    def _release_unfit(self, problem: str) -> Outcome:
        """Report that this machine cannot run jobs, and give the job back."""
        self._fitness.report(problem)
        message = f"worker {self._settings.worker_id} cannot run jobs for the moment: {problem}"
        return Outcome("released", None, "worker_unfit", message)

    async def _run_agent(self, attempt_dir: AttemptDirectory) -> Outcome:
        """Prepare the repository, start the agent in its sandbox, and follow it to its end."""
        repository = self._make_repository(attempt_dir) if "workspace" in self.job else None
        if repository is not None and (failure := await repository.prepare()):
            await self._fitness.check()
            return failure
        start_dir = repository.start_dir if repository else attempt_dir.job_dir
        needs = AGENTS[self.job["agent"]].needs
        lent = lend_credentials(needs, attempt_dir.home, self._settings.agent_env) if needs else {}
        checkpoint = repository.checkpoint if repository else None
        launch, env = await self._prepare_launch(attempt_dir, start_dir, lent, checkpoint)
        sandboxed = await asyncio.to_thread(self._enter_sandbox, attempt_dir, start_dir, lent)
        try:
            process = await KeptProcess.start(
                launch.argv,
                env=env,
                cwd=str(start_dir),
                stdin=launch.stdin,
                held=attempt_dir.lock,
                within=sandboxed.prefix,
                user=sandboxed.user,
                fed=self._has_input,
            )
            return await self._run_process(process, launch.stdin, str(attempt_dir.job_dir), repository)
        finally:
            await asyncio.to_thread(sandboxed.release)

    def _make_repository(self, attempt_dir: AttemptDirectory) -> JobRepository:
        repository = JobRepository(self.job, attempt_dir, self._files, self._outbox, self._settings)

        def session_state() -> SessionState:
            session = _valid_session(self._reader.session) if self._reader else self._session
            files = AGENTS[self.job["agent"]].session_files(attempt_dir.home, session) if session else []
            return SessionState(session, self._reader.reported if self._reader else {}, files)

        repository.checkpoints.session_state = session_state
        self._turn_ended = repository.checkpoints.turn_ended
        return repository

    async def _prepare_launch(
        self, attempt_dir: AttemptDirectory, start_dir: Path, lent: Mapping[str, str], checkpoint: Checkpoint | None
    ) -> tuple[Launch, Mapping[str, str]]:
        """Return how to start the agent, and its environment; set its reader and the secrets to mask."""
        agent, settings = AGENTS[self.job["agent"]], self._settings
        urls = settings.url if self._has_network else ()
        make_env = partial(environment, self.job, attempt_dir, settings.worker_id, urls=urls)
        given = {**lent, **self._secret_store.variables_for(self._requires), **self._mask_socket, **self._trusted_ca()}
        run = Run(
            self.job["prompt"],
            start_dir,
            attempt_dir.home,
            args=self.job.get("agentArgs") or {},
            env=make_env(given),
            isolated=settings.isolated,
            trust_project=bool(self.job.get("trustProject")),
            stdin=self._has_input,
        )
        if checkpoint is not None:
            run = await asyncio.to_thread(resumed, agent, run, checkpoint)
        launch = agent.launch(run)
        self._reader = agent.reader(run)
        env = make_env({**given, **launch.env})
        names = (*(agent.needs.variables if agent.needs else ()), "ADO_TOKEN")
        values = [*self._secret_store.values, *(env[name] for name in names if name in env)]
        self._secrets = await asyncio.to_thread(Secrets, values)
        return launch, env

    def _trusted_ca(self) -> dict[str, str]:
        """Return the variable by which ado kv in the job trusts the server."""
        return {"ADO_CA": str(Path(self._settings.ca).absolute())} if self._settings.ca else {}

    def _enter_sandbox(self, attempt_dir: AttemptDirectory, start_dir: Path, lent: Mapping[str, str]) -> SandboxedStart:
        """Prepare the sandbox, in which the job may read the files that the worker's variables name."""
        named = (*lent.values(), *(os.environ.get(name, "") for name in FILE_VARIABLES))
        files = [value for value in named if value.startswith("/")]
        return self._sandbox.enclose(attempt_dir.base, start_dir, files, network=self._has_network)

    @property
    def _has_network(self) -> bool:
        return NO_NETWORK not in self._requires

    @property
    def _has_input(self) -> bool:
        return STDIN in self._requires

    def _set_masks(self, repository: JobRepository | None) -> None:
        """Mask secrets in the result too, and report the job's secrets that are too short to mask."""
        if repository is not None:
            repository.mask_with(self._secrets)
        for warning in self._secret_store.unmasked(entry.removeprefix(SECRET) for entry in self._requires):
            self._outbox.put({"type": "progress", "message": warning}, len(warning))

    async def _run_process(
        self, process: KeptProcess, text: str, job_dir: str, repository: JobRepository | None
    ) -> Outcome:
        """Follow a process, and leave nothing of it behind; ``text`` comes before the job's input on its stdin."""
        ending = asyncio.create_task(process.ended(), name="agent end")
        try:
            self._set_masks(repository)
            output = AgentOutput(process, self._reader, self._outbox, self._secrets, self._turn_ended, job_dir)
            try:
                return await self._follow(process, ending, output, text, repository)
            finally:
                output.close()
                self._outbox.close()
        finally:
            process.kill()
            await asyncio.gather(ending, return_exceptions=True)
            process.close()

    async def _follow(
        self,
        process: KeptProcess,
        ending: asyncio.Task[ProcessEnd],
        output: AgentOutput,
        text: str,
        repository: JobRepository | None,
    ) -> Outcome:
        """Send what the agent writes until it ends, then its result. Raises the first error of any part at once."""
        events = EventPipe(process.events, self._outbox, self._secrets, self._note_event)
        async with task_group() as group:
            group.create_task(self._sender.run(), name="batches")
            reading = [group.create_task(part.run(), name=type(part).__name__) for part in (output, events)]
            companions = self._companions(process, output.stream, text, repository)
            beside = [group.create_task(work, name=name) for name, work in companions]
            end = await asyncio.shield(ending)
            if end.is_short_of_resources:
                raise MachineUnfit(end.error)
            self._report_survivors(end)
            for task in beside:  # a stop after the agent's end is not its cause
                task.cancel()
            await asyncio.wait(beside)
            await asyncio.wait(reading, timeout=self._settings.output_seconds)
            outcome = self._apply_stop(self._memory.explain(output.outcome(end)))
            if repository is not None:
                outcome = await repository.send_result(outcome)
            for task in reading:  # a process that could not be killed holds its pipes open
                task.cancel()
            output.close()
            self._outbox.close()  # the sender ends once the outbox is empty
        return outcome

    def _companions(
        self, process: KeptProcess, stream: AgentStream | None, text: str, repository: JobRepository | None
    ) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Yield what runs beside the agent and ends with it, each with its name."""
        yield "stopper", self._stop_process(process)
        if process.stdin is not None:
            yield "input", InputFeed(process, self._subscribe, self._fence, self.stop).run(text)
        if repository is not None:
            yield "checkpoints", repository.checkpoints.run()
        if stream is not None:
            yield "silence", self._watch_silence(stream)

    def _report_survivors(self, end: ProcessEnd) -> None:
        for survivor in end.survivors:
            message = clean_text(f"a process of this job could not be ended: {survivor}", _MESSAGE_CHARS)
            self._outbox.put({"type": "progress", "message": message})

    def _apply_stop(self, outcome: Outcome) -> Outcome:
        """Return the reason for the stop if the agent was stopped: its exit code alone may say success."""
        stop = self._stop_outcome
        if stop is None or not self._is_terminated:
            return outcome
        return Outcome(stop.outcome, outcome.exit_code, stop.reason, stop.message)

    async def _stop_process(self, process: KeptProcess) -> None:
        limit = self.job.get("timeoutSeconds")
        try:
            async with asyncio.timeout(limit + _TIMEOUT_MARGIN_SECONDS if limit else None):
                await self._stopping.wait()
        except TimeoutError:
            self.stop(Outcome("failed", None, "timed_out", "the attempt took longer than the task allows"))
        self._is_terminated = True
        process.terminate()
        await asyncio.sleep(self._settings.grace_seconds)
        process.kill()

    async def _watch_silence(self, stream: AgentStream) -> None:
        seconds = self._settings.agent_idle_seconds
        await stream.stalled(seconds)
        assert self._reader is not None
        self.stop(self._reader.stalled(seconds))

    def _note_event(self, event: Mapping[str, Any]) -> None:
        """Note the session that a job's event names, and the end of a turn."""
        if event.get("event") == "session":
            self._session = _valid_session(event.get("sessionId"))
        elif str(event.get("event")) in TURN_ENDS:
            self._turn_ended()

    async def _finish(self, outcome: Outcome) -> None:
        """Report the finish until the server answers; a refused report is sent once more without the result."""
        report = {
            **self._fence,
            "lastBatch": self._sender.last,
            "outcome": outcome.outcome,
            "exitCode": outcome.exit_code,
            "reason": outcome.reason,
        }
        message = clean_text(outcome.message, _MESSAGE_CHARS)
        try:
            await until_answered(self._call, "workers.finish", {**report, "message": message, **self._final_result()})
        except CallError as error:
            _log.exception("finish was refused", extra={"job": self.key[0], "reason": error.reason})
            refusal = clean_text(f"the server refused the report of the end: {error.message}", _MESSAGE_CHARS)
            with contextlib.suppress(CallError):  # heartbeats no longer list the job, so the server requeues it
                await until_answered(self._call, "workers.finish", {**report, "message": message or refusal})
        _log.info("attempt finished", extra={"job": self.key[0], "attempt": self.key[1], "outcome": outcome.outcome})

    def _final_result(self) -> dict[str, Any]:
        """Return the agent's result and usage; nothing if its reader fails, so that the attempt still ends."""
        try:
            result, usage = (self._reader.result, self._reader.usage) if self._reader else (None, None)
        except Exception:  # noqa: BLE001 - a reader may fail on any value of its agent
            _log.exception("no result could be read", extra={"job": self.key[0], "attempt": self.key[1]})
            return {}
        return {"result": result_that_fits(result), "usage": usage_that_fits(usage)}
