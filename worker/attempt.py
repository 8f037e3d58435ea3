"""One attempt, from its directory to its finish; it ends in exactly one outcome.

Steps: directory, repository, agent under a keeper, output into the outbox and from there in batches, the agent's end,
the rest of the output, the result, finish. Told to stop, the tree gets SIGTERM and after ``grace_seconds`` SIGKILL.
Told that the lease is lost, everything is killed at once and nothing more is written: another worker has the job. A
finish is sent until it is answered, and until then the job stays in the heartbeats.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from app.core.capabilities import NO_NETWORK, STDIN
from app.rpc.client import CallError
from worker.agents import AGENTS
from worker.agents.base import TURN_ENDS, AgentReader, Outcome, Run, exit_outcome
from worker.agents.stream import AgentStream
from worker.credentials import lend
from worker.fitness import Fitness, MachineUnfit, describe_error
from worker.input_feed import InputFeed, Subscribe
from worker.memory_kills import MemoryWatch
from worker.output.batches import BatchSender, Call, LeaseLost, until_answered
from worker.output.buffer import Outbox
from worker.output.event_pipe import EventPipe
from worker.output.mask_socket import registrar
from worker.output.masking import NO_SECRETS, Secrets
from worker.output.pipes import OutputReader
from worker.output.wire_events import clean_text, result_that_fits, usage_that_fits
from worker.processes.directories import FILE_VARIABLES, AttemptDirectory, attempt_directory, environment
from worker.processes.process import KeeperBroken, KeptProcess, ProcessEnd, is_shortage
from worker.processes.removal import RemovalQueue
from worker.repository.checkpoint import SESSION_NAME, Checkpoint, SessionState, resumed
from worker.repository.job_repository import JobRepository
from worker.repository.transfers import AttemptFiles
from worker.sandbox.base import NO_SANDBOX, Sandbox, SandboxedStart
from worker.secret_store import PREFIX as SECRET
from worker.secret_store import SecretStore
from worker.server_limits import ServerLimits
from worker.settings import WorkerSettings
from worker.task_group import all_or_failure, first_or_failure

_log = logging.getLogger("ado.worker")
_MESSAGE_CHARS = 9000  # a server takes 10,000 characters
_TIMEOUT_MARGIN_SECONDS = 30.0  # the server's clock decides about timeouts; ours only steps in when it does not

FilesOf = Callable[[Mapping[str, Any]], AttemptFiles]
"""Makes the files of an attempt from its fence."""


def _nothing() -> None:
    """Do nothing at the end of a turn: nobody saves."""


def _session_name(said: Any) -> str | None:
    """Return a session's name, which becomes part of a path; None for anything else that a job or an agent says."""
    return said if isinstance(said, str) and SESSION_NAME.fullmatch(said) else None


class Attempt:
    """A claimed job being run."""

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
        self._limits = limits
        self._sandbox = sandbox
        self._subscribe = subscribe
        self._text = ""
        """What the agent reads before the job's input."""
        self._release: Callable[[], object] = _nothing
        self._secrets = NO_SECRETS
        self._mask_socket: dict[str, str] = {}
        self._fence = {"workerId": settings.worker_id, "jobId": job["jobId"], "attempt": job["attempt"]}
        if "credential" in job:  # a server of an older release gives none
            self._fence["credential"] = job["credential"]
        self._files = files_of(self._fence)
        self._stopping = asyncio.Event()
        self._stopped_as: Outcome | None = None
        self._told = False
        self._lost = asyncio.Event()
        self._reader: AgentReader | None = None
        self._session: str | None = None
        self._memory = MemoryWatch(alone=settings.slots == 1)

    def stop(self, outcome: Outcome) -> None:
        """End the agent and report ``outcome``; the first reason stands."""
        if self._stopped_as is None:
            self._stopped_as = outcome
            self._stopping.set()

    def lose(self) -> None:
        """Kill the agent at once and write nothing more."""
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
        sender: BatchSender | None = None
        try:
            name = f"{self.job['taskId']}-{self.job['job']}"
            async with (
                attempt_directory(self._settings.work_dir, name, self._removals) as attempt_dir,
                registrar(attempt_dir.base, lambda: self._secrets) as self._mask_socket,
            ):
                outbox = Outbox(self._settings.buffer_bytes, self._limits.chunk_bytes)
                sender = BatchSender(self._call, outbox, self._fence, self._limits.batch_events)
                home = self._home(attempt_dir, outbox) if "workspace" in self.job else None
                outcome = await self._run_agent(outbox, sender, attempt_dir, home)
        except MachineUnfit as error:
            outcome = self._hand_back(str(error))
        except (OSError, KeyError) as error:
            if isinstance(error, OSError) and is_shortage(error.errno):
                outcome = self._hand_back(describe_error(error))
            else:
                outcome = Outcome("failed", None, "start_failed", f"the agent could not be started: {error}")
        except CallError as error:
            outcome = Outcome("failed", None, "agent_error", f"the server refused the output: {error.message}")
        except LeaseLost:
            raise
        except KeeperBroken as error:
            outcome = Outcome("failed", None, "worker_error", str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must end the job once, not have it run again
            _log.exception("attempt broke", extra={"job": self.key[0], "attempt": self.key[1]})
            message = f"the worker made a mistake, see its log: {type(error).__name__}: {error}"
            outcome = Outcome("failed", None, "worker_error", message)
        await self._finish(outcome, sender.last if sender else 0)

    def _hand_back(self, problem: str) -> Outcome:
        self._fitness.report(problem)
        message = f"worker {self._settings.worker_id} cannot run jobs for the moment: {problem}"
        return Outcome("released", None, "worker_unfit", message)

    def _home(self, attempt_dir: AttemptDirectory, outbox: Outbox) -> JobRepository:
        home = JobRepository(self.job, attempt_dir, self._files, outbox, self._settings)

        def session_state() -> SessionState:
            session = _session_name(self._reader.session) if self._reader else self._session
            found = AGENTS[self.job["agent"]].session_files(attempt_dir.home, session) if session else []
            return SessionState(session, self._reader.reported if self._reader else {}, found)

        home.checkpoints.session_state = session_state
        return home

    async def _start(self, attempt_dir: AttemptDirectory, saved: Checkpoint | None, directory: Path) -> KeptProcess:
        agent = AGENTS[self.job["agent"]]
        settings = self._settings
        urls = settings.url if self._has_network else ()
        surroundings = partial(environment, self.job, attempt_dir, settings.worker_id, urls=urls)
        lent = lend(agent.needs, attempt_dir.home, settings.agent_env) if agent.needs else {}
        given = {
            **lent,
            **self._secret_store.lend(self.job.get("requires") or ()),
            **self._mask_socket,
            **self._trusted(),
        }
        run = Run(
            self.job["prompt"],
            directory,
            attempt_dir.home,
            args=self.job.get("agentArgs") or {},
            env=surroundings(given),
            isolated=settings.isolated,
            trust_project=bool(self.job.get("trustProject")),
            stdin=self._has_input,
        )
        if saved is not None:
            run = await asyncio.to_thread(resumed, agent, run, saved)
        launch = agent.launch(run)
        env = surroundings({**given, **launch.env})
        names = (*(agent.needs.variables if agent.needs else ()), "ADO_TOKEN")
        values = [*self._secret_store.values, *(env[name] for name in names if name in env)]
        self._secrets = await asyncio.to_thread(Secrets, values)
        self._reader = agent.reader(run)
        sandboxed = await asyncio.to_thread(self._sandboxed, attempt_dir, directory, lent)
        cwd, held, self._text = str(directory), attempt_dir.lock, launch.stdin
        self._release = sandboxed.release
        return await KeptProcess.start(
            launch.argv,
            env=env,
            cwd=cwd,
            stdin=launch.stdin,
            held=held,
            within=sandboxed.prefix,
            user=sandboxed.user,
            fed=self._has_input,
        )

    def _sandboxed(self, attempt_dir: AttemptDirectory, directory: Path, lent: Mapping[str, str]) -> SandboxedStart:
        """Return the attempt's sandbox; it may read the files that variables of the worker's environment name."""
        named = (*lent.values(), *(os.environ.get(name, "") for name in FILE_VARIABLES))
        files = [value for value in named if value.startswith("/")]
        return self._sandbox.enclose(attempt_dir.base, directory, files, network=self._has_network)

    @property
    def _has_network(self) -> bool:
        return NO_NETWORK not in (self.job.get("requires") or ())

    @property
    def _has_input(self) -> bool:
        return STDIN in (self.job.get("requires") or ())

    def _trusted(self) -> dict[str, str]:
        """Return what ado kv in the job needs to trust the server; the worker's own certificate is no job's."""
        return {"ADO_CA": str(Path(self._settings.ca).absolute())} if self._settings.ca else {}

    def _set_masks(self, home: JobRepository | None, outbox: Outbox) -> None:
        """Mask what comes home too, and name the secrets of this job that are not masked."""
        if home is not None:
            home.mask_with(self._secrets)
        for warning in self._secret_store.unmasked(
            entry.removeprefix(SECRET) for entry in self.job.get("requires") or ()
        ):
            outbox.put({"type": "progress", "message": warning}, len(warning))

    async def _run_agent(
        self, outbox: Outbox, sender: BatchSender, attempt_dir: AttemptDirectory, home: JobRepository | None
    ) -> Outcome:
        if home is not None and (failure := await home.lay()):
            await self._fitness.confirm()
            return failure
        try:
            directory = home.directory if home else attempt_dir.job_dir
            process = await self._start(attempt_dir, home.saved if home else None, directory)
            return await self._run_process(process, outbox, sender, attempt_dir, home)
        finally:
            await asyncio.to_thread(self._release)

    async def _run_process(
        self,
        process: KeptProcess,
        outbox: Outbox,
        sender: BatchSender,
        attempt_dir: AttemptDirectory,
        home: JobRepository | None,
    ) -> Outcome:
        ending = asyncio.create_task(process.ended(), name="agent end")
        try:
            self._set_masks(home, outbox)
            return await self._follow(process, ending, outbox, sender, str(attempt_dir.job_dir), home)
        finally:
            process.kill()
            await asyncio.gather(ending, return_exceptions=True)
            process.close()

    async def _follow(
        self,
        process: KeptProcess,
        ending: asyncio.Task[ProcessEnd],
        outbox: Outbox,
        sender: BatchSender,
        directory: str,
        home: JobRepository | None,
    ) -> Outcome:
        """Send what the agent writes until its end, and bring home what it did. Nothing here outlives this."""
        readers: list[OutputReader] = []
        listener: AgentStream | None = None
        turn_ended = home.checkpoints.turn_ended if home else _nothing
        pipe = EventPipe(process.events, outbox, self._secrets, partial(self._heed, turn_ended=turn_ended))
        reading = [asyncio.create_task(pipe.run(), name="events")]
        sending = asyncio.create_task(sender.run(), name="batches")
        stoppers = [asyncio.create_task(self._stop_process(process), name="stopper")]
        try:
            if process.stdin is not None:
                feed = InputFeed(process, self._subscribe, self._fence, self.stop)
                stoppers.append(asyncio.create_task(feed.run(self._text), name="input"))
            if home is not None:
                stoppers.append(asyncio.create_task(home.checkpoints.run(), name="checkpoints"))
            if self._reader is None:
                streams = ((process.stdout, "stdout"), (process.stderr, "stderr"))
                readers.append(OutputReader(streams, outbox, self._secrets))
            else:
                listener = AgentStream(process.stdout, self._reader, outbox, self._secrets, turn_ended, directory)
                reading.append(asyncio.create_task(listener.run(), name="listener"))
                stoppers.append(asyncio.create_task(self._watch_silence(listener), name="silence"))
                readers.append(OutputReader([(process.stderr, "stderr")], outbox, self._secrets, listener.feed_stderr))
            done = [reader.done for reader in readers]
            ended = await first_or_failure(ending, [sending, *done, *reading, *stoppers])
            if ended.is_short_of_resources:
                raise MachineUnfit(ended.error)
            self._report_survivors(ended, outbox)
            for stopper in stoppers:  # what comes from here on comes too late to have been the reason
                stopper.cancel()
            await asyncio.gather(*stoppers, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.output_seconds):
                    await all_or_failure([*done, *reading])
            outcome = exit_outcome(ended) if self._reader is None else self._reader.outcome(ended)
            if listener is not None:
                outcome = listener.explain(outcome)
            outcome = self._judge(self._memory.explain(outcome))
            if home is not None:
                outcome = await home.bring(outcome)
            self._close(readers, outbox)
            await sending
        finally:
            self._close(readers, outbox)
            for task in (sending, *reading, *stoppers):
                task.cancel()
            await asyncio.gather(sending, *reading, *stoppers, return_exceptions=True)
        return outcome

    @staticmethod
    def _report_survivors(ended: ProcessEnd, outbox: Outbox) -> None:
        for survivor in ended.survivors:
            message = clean_text(f"a process of this job could not be ended: {survivor}", _MESSAGE_CHARS)
            outbox.put({"type": "progress", "message": message})

    @staticmethod
    def _close(readers: list[OutputReader], outbox: Outbox) -> None:
        for reader in readers:
            reader.close()
        outbox.close()

    def _judge(self, outcome: Outcome) -> Outcome:
        """Say what the end means: an agent that was told to end has not done its work, whatever its exit code is."""
        if self._stopped_as is None or not self._told:
            return outcome
        wanted = self._stopped_as
        return Outcome(wanted.outcome, outcome.exit_code, wanted.reason, wanted.message)

    async def _stop_process(self, process: KeptProcess) -> None:
        limit = self.job.get("timeoutSeconds")
        try:
            async with asyncio.timeout(limit + _TIMEOUT_MARGIN_SECONDS if limit else None):
                await self._stopping.wait()
        except TimeoutError:
            self.stop(Outcome("failed", None, "timed_out", "the attempt took longer than the task allows"))
        self._told = True
        process.terminate()
        await asyncio.sleep(self._settings.grace_seconds)
        process.kill()

    async def _watch_silence(self, listener: AgentStream) -> None:
        seconds = self._settings.agent_idle_seconds
        await listener.stalled(seconds)
        assert self._reader is not None
        self.stop(self._reader.stalled(seconds))

    def _heed(self, event: Mapping[str, Any], turn_ended: Callable[[], object]) -> None:
        if event.get("event") == "session":
            self._session = _session_name(event.get("sessionId"))
        elif str(event.get("event")) in TURN_ENDS:
            turn_ended()

    async def _finish(self, outcome: Outcome, last_batch: int) -> None:
        bare = {
            **self._fence,
            "lastBatch": last_batch,
            "outcome": outcome.outcome,
            "exitCode": outcome.exit_code,
            "reason": outcome.reason,
        }
        message = clean_text(outcome.message, _MESSAGE_CHARS)
        try:
            await until_answered(self._call, "workers.finish", {**bare, "message": message, **self._stderr_tail()})
        except CallError as error:
            _log.exception("finish was refused", extra={"job": self.key[0], "reason": error.reason})
            refused = clean_text(f"the server refused the report of the end: {error.message}", _MESSAGE_CHARS)
            with contextlib.suppress(CallError):  # refused again: unlisted from here on, the job is requeued
                await until_answered(self._call, "workers.finish", {**bare, "message": message or refused})
        _log.info("attempt finished", extra={"job": self.key[0], "attempt": self.key[1], "outcome": outcome.outcome})

    def _stderr_tail(self) -> dict[str, Any]:
        """Return the agent's own account of the attempt, which must not keep the attempt from ending."""
        try:
            result, usage = (self._reader.result, self._reader.usage) if self._reader else (None, None)
        except Exception:  # noqa: BLE001 - a reader may trip over what its agent said
            _log.exception("no result could be read", extra={"job": self.key[0], "attempt": self.key[1]})
            return {}
        return {"result": result_that_fits(result), "usage": usage_that_fits(usage)}
