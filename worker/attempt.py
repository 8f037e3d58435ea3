"""One attempt, from its directory to its finish; it ends in exactly one outcome.

Steps: make the directory, prepare the repository, run the task's setup, take turns of the agent, each under a keeper,
while its output is sent in batches, send the rest of the output and the result, report the finish. After a turn that
succeeded the task's checks run. The next turn of a session begins with the check that failed, and with the messages
that wait. A lost lease kills everything at once, and nothing more is sent, because the job may already run elsewhere.
The finish is sent until the server answers; until then heartbeats list the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from app.core.approvals import approval_in
from app.core.capabilities import NO_NETWORK, STDIN
from worker.agent_health import agent_health
from worker.agents import AGENTS
from worker.agents.base import Agent, AgentReader, Run, valid_session
from worker.agents.credentials import AgentCredentials, KnownRefusals
from worker.agents.events import total
from worker.agents.programs import copy_credentials
from worker.agents.verdict import BUDGET, TURN_ENDS, Event, Outcome
from worker.agents.words import next_turn, with_words
from worker.allocation import Allocation, allocate
from worker.between_turns import Refusals, settle_budget
from worker.budget import RAISED, JobBudget
from worker.commands import NO_COMMANDS, Commands
from worker.finish import outcome_of_error, report_end
from worker.input_feed import Subscribe
from worker.job_sockets import job_sockets
from worker.machine_health import MachineHealth, MachineUnfit, describe_error
from worker.mailbox import Mailbox, MailboxMessage
from worker.memory_kills import MemoryWatch
from worker.output.batches import BatchSender, Call, LeaseLost
from worker.output.buffer import Outbox
from worker.output.masking import NO_SECRETS, Secrets
from worker.output.wire_events import ServerLimits, result_that_fits, usage_that_fits
from worker.output.write_order import expect_writes
from worker.processes.directories import FILE_VARIABLES, AttemptDirectory, attempt_directory, environment
from worker.processes.process import KeptProcess, is_shortage
from worker.processes.removal import RemovalQueue
from worker.questions import Questions
from worker.rate_limits import RateLimits
from worker.repository.checkpoint import Checkpoint, SessionState, resumed
from worker.repository.job_repository import JobRepository, without_session
from worker.repository.transfers import AttemptFiles
from worker.sandbox.base import NO_SANDBOX, Sandbox, SandboxedStart
from worker.secret_store import PREFIX as SECRET
from worker.secret_store import SecretStore
from worker.settings import WorkerSettings
from worker.task_group import task_group
from worker.turn import Stop, Turn, TurnSetting

_log = logging.getLogger("ado.worker")

FilesOf = Callable[[Mapping[str, Any]], AttemptFiles]
"""Makes the files of an attempt from its fence."""


class Attempt:
    """A claimed job, from its claim to its finish."""

    def __init__(
        self,
        job: Mapping[str, Any],
        call: Call,
        settings: WorkerSettings,
        files_of: FilesOf,
        secret_store: SecretStore,
        machine_health: MachineHealth,
        removals: RemovalQueue,
        limits: ServerLimits,
        sandbox: Sandbox = NO_SANDBOX,
        *,
        subscribe: Subscribe,
        refusals: KnownRefusals | None = None,
    ) -> None:
        self.job = job
        self.key: tuple[str, int] = (job["jobId"], job["attempt"])
        self._agent: Agent = AGENTS[job["agent"]]
        self._call = call
        self._settings = settings
        self._secret_store = secret_store
        self._machine_health = machine_health
        self._removals = removals
        self._sandbox = sandbox
        self._subscribe = subscribe
        self._requires: Sequence[str] = job.get("requires") or ()
        self._secrets = NO_SECRETS
        self._sockets: dict[str, str] = {}
        self._allocation = Allocation()
        self._fence = {"workerId": settings.worker_id, "jobId": job["jobId"], "attempt": job["attempt"]}
        if "credential" in job:  # a server of an older release gives none
            self._fence["credential"] = job["credential"]
        self._files = files_of(self._fence)
        self._outbox = Outbox(settings.buffer_bytes, limits.chunk_bytes)
        self._sender = BatchSender(call, self._outbox, self._fence, limits.batch_events)
        self._mailbox = Mailbox(call, self._fence)
        self._questions = Questions(call, self._fence)
        self._budget = JobBudget(job)
        self._credentials = AgentCredentials(self._agent.needs, os.environ, job.get("env") or {}, refusals)
        self._limits = RateLimits(job, self._credentials, settings.question_hold_seconds, self._outbox.put)
        self._stop = Stop()
        self._lost = asyncio.Event()
        self._reader: AgentReader | None = None
        self._session: str | None = None
        self._used: dict[str, float] = {}  # by the turns before the present one
        self._has_worked = False
        self._turn_ended: Callable[[], object] = lambda: None
        self._environment: Callable[[Mapping[str, str]], dict[str, str]] = dict
        """Makes the agent's environment from the variables that its launch adds."""

    def stop(self, outcome: Outcome) -> None:
        """Stop the agent and report ``outcome``; later calls change nothing."""
        self._stop.request(outcome)

    def pause(self) -> None:
        """Stop the agent, save its session, and hand the job back, which is then paused."""
        self._stop.request(Outcome("released", None, "paused"))

    def deliver(self, message: MailboxMessage) -> None:
        """Give a message to the agent as soon as it can take it; one that it has already changes nothing."""
        self._mailbox.add(message)

    def settle(self, question: Mapping[str, Any]) -> None:
        """Give the agent the answer to its question; a repeated one changes nothing."""
        self._questions.settle(question)

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
                allocate(self._settings, attempt_dir.home, self.job.get("workspace")) as self._allocation,
                job_sockets(attempt_dir.base, lambda: self._secrets, self._questions) as self._sockets,
            ):
                outcome = await self._run_agent(attempt_dir)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - any error ends the job once; otherwise the job would run again
            outcome = self._outcome_of_error(error)
        health = agent_health(self._agent, self.job, outcome, self._reader, worked_before=self._has_worked)
        head = {**self._fence, "lastBatch": self._sender.last, "health": health}
        await report_end(self._call, head, outcome, self._final_result())

    def _outcome_of_error(self, error: Exception) -> Outcome:
        """Return how the attempt ends after an error."""
        match error:
            case MachineUnfit():
                return self._release_unfit(str(error))
            case OSError() if is_shortage(error.errno):
                return self._release_unfit(describe_error(error))
        return outcome_of_error(error, *self.key)

    def _release_unfit(self, problem: str) -> Outcome:
        """Report that this machine cannot run jobs, and give the job back."""
        self._machine_health.report(problem)
        message = f"worker {self._settings.worker_id} cannot run jobs for the moment: {problem}"
        return Outcome("released", None, "worker_unfit", message)

    async def _run_agent(self, attempt_dir: AttemptDirectory) -> Outcome:
        """Prepare the repository, and let the agent take its turns in its sandbox."""
        repository = self._make_repository(attempt_dir) if "workspace" in self.job else None
        if repository is not None and (failure := await repository.prepare()):
            await self._machine_health.check()
            return failure
        start_dir = repository.start_dir if repository else attempt_dir.job_dir
        needs = self._agent.needs
        credentials = copy_credentials(needs, attempt_dir.home, self._settings.agent_env) if needs else {}
        checkpoint = repository.checkpoint if repository else None
        run = await self._prepare_run(attempt_dir, start_dir, credentials, checkpoint)
        self._set_masks(repository)
        setting = self._turn_setting(attempt_dir, repository)
        sandboxed = await asyncio.to_thread(self._enter_sandbox, attempt_dir, start_dir, credentials)
        try:
            async with task_group() as group:
                group.create_task(self._sender.run(), name="batches")
                group.create_task(self._mailbox.run(), name="receipts")
                group.create_task(self._questions.run(), name="acknowledgements")
                try:
                    kept_open = (attempt_dir.lock, *self._allocation.held)
                    outcome = await self._take_turns(run, setting, sandboxed, kept_open)
                    outcome = await repository.send_result(outcome) if repository else without_session(outcome)
                finally:
                    self._outbox.close()  # the sender ends once the outbox is empty
                    self._mailbox.close()
                    self._questions.close()
            return outcome
        finally:
            await asyncio.to_thread(sandboxed.release)

    async def _take_turns(
        self, run: Run, setting: TurnSetting, sandbox: SandboxedStart, held: Sequence[int]
    ) -> Outcome:
        """Run the setup, and take turns until no words are left for the agent; return how the last one ended."""
        start = partial(KeptProcess.start, cwd=str(run.directory), held=held, within=sandbox.prefix, user=sandbox.user)
        commands = Commands(
            self.job.get("checks") or NO_COMMANDS,
            setting,
            lambda command: start(["/bin/sh", "-c", "--", command], env=self._environment({}), expect=expect_writes),
            mends=self._agent.takes_messages,
        )
        if failure := await commands.set_up() or await settle_budget(setting):
            return failure
        refusals = Refusals(setting, self._agent, run.home)
        while True:
            run = replace(run, dollars=self._budget.dollars_left)
            launch, self._reader = self._agent.launch(run), self._agent.reader(run)
            fed = launch.line is not None or (run.stdin and not run.has_begun)
            begin = start if self._reader else partial(start, expect=expect_writes)
            process = await begin(launch.argv, env=self._environment(launch.env), stdin=launch.stdin, fed=fed)
            turn = await refusals.settle(run, await Turn(setting, process, launch, self._reader).run(), self._reader)
            if isinstance(turn, Run):
                run = replace(turn, env=self._environment({}))
                self._add_usage()
                continue
            outcome, words = await commands.check(turn)
            words += await self._next_words(outcome)
            if not words and outcome.reason != BUDGET:
                return outcome
            if failure := await settle_budget(setting, outcome):
                return failure
            run = next_turn(self._agent, run, words or [RAISED], self._reader)
            self._add_usage()

    def _add_usage(self) -> None:
        """Count what the last turn has used and done: the next one has a reader of its own."""
        if self._reader is not None:
            self._has_worked = self._has_worked or self._reader.has_worked
            self._used = total(self._used, self._reader.usage or {})

    async def _next_words(self, outcome: Outcome) -> list[str]:
        """Return the words with which the agent's next turn begins; an empty list if the attempt ends."""
        if not self._has_messages or outcome.outcome != "succeeded" or self._stop.requested.is_set():
            return []
        await self._mailbox.fetch(undelivered=True)  # the command for a message that was just sent may be on its way
        return [message.text for message in self._mailbox.take()]

    def _turn_setting(self, attempt_dir: AttemptDirectory, repository: JobRepository | None) -> TurnSetting:
        return TurnSetting(
            self._settings,
            self._fence,
            self._outbox,
            self._secrets,
            self._mailbox,
            self._questions,
            self._stop,
            self._budget,
            self._limits,
            MemoryWatch(alone=self._settings.slots == 1),
            self._subscribe,
            str(attempt_dir.job_dir),
            self.job.get("timeoutSeconds"),
            self._note_agent_event,
            self._note_event,
            repository.checkpoints if repository else None,
        )

    def _make_repository(self, attempt_dir: AttemptDirectory) -> JobRepository:
        repository = JobRepository(self.job, attempt_dir, self._files, self._outbox, self._settings)

        def session_state() -> SessionState:
            begun = self._reader or repository.checkpoint or SessionState()
            session = valid_session(begun.session if self._reader else self._session or begun.session)
            files = self._agent.session_files(attempt_dir.home, session) if session else []
            return SessionState(session, begun.reported, files, self._mailbox.confirmed)

        repository.checkpoints.session_state = session_state
        self._turn_ended = repository.checkpoints.turn_ended
        return repository

    async def _prepare_run(
        self,
        attempt_dir: AttemptDirectory,
        start_dir: Path,
        credentials: Mapping[str, str],
        checkpoint: Checkpoint | None,
    ) -> Run:
        """Return what the agent's first turn begins with; set the secrets to mask."""
        agent, settings = self._agent, self._settings
        urls = settings.url if self._has_network else ()
        given = {
            **self._allocation.env,
            **credentials,
            **self._secret_store.variables_for(self._requires),
            **self._sockets,
            **self._trusted_ca(),
        }
        make_env = partial(environment, self.job, attempt_dir, settings.worker_id, urls=urls)
        self._environment = lambda added: make_env({**self._credentials.applied(given), **added})
        run = Run(
            self.job["prompt"],
            start_dir,
            attempt_dir.home,
            args=self.job.get("agentArgs") or {},
            env=self._environment({}),
            approve=approval_in(self._requires) or ("all" if settings.isolated else "edits"),
            trust_project=bool(self.job.get("trustProject")),
            stdin=STDIN in self._requires,
        )
        if checkpoint is not None:
            run = await asyncio.to_thread(resumed, agent, run, checkpoint)
        values = [*self._secret_store.values, *self._credentials.values(run.env), run.env["ADO_TOKEN"]]
        self._secrets = await asyncio.to_thread(Secrets, values)
        return await self._with_messages(run, checkpoint)

    async def _with_messages(self, run: Run, checkpoint: Checkpoint | None) -> Run:
        """Add the job's messages to the prompt, except those that are part of the session already.

        The server is asked even if the claim counted none: a command that came before the claim's answer was lost.
        """
        if not self._has_messages:
            return run
        if checkpoint is not None and run.session:
            self._mailbox.know(checkpoint.message_ids)
        await self._mailbox.fetch()
        words = [message.text for message in self._mailbox.take()]
        goes_on = bool(self.job.get("continues") and run.session and words and self._agent.converses)
        prompt = with_words(self._agent, "" if goes_on else run.prompt, words)
        return replace(run, prompt=prompt, anew=with_words(self._agent, run.anew, words) if run.anew else "")

    def _trusted_ca(self) -> dict[str, str]:
        """Return the variable by which ado kv in the job trusts the server."""
        return {"ADO_CA": str(Path(self._settings.ca).absolute())} if self._settings.ca else {}

    def _enter_sandbox(
        self, attempt_dir: AttemptDirectory, start_dir: Path, credentials: Mapping[str, str]
    ) -> SandboxedStart:
        """Prepare the sandbox, in which the job may read the files that the worker's variables name."""
        named = (*credentials.values(), *(os.environ.get(name, "") for name in FILE_VARIABLES))
        files = [value for value in named if value.startswith("/")]
        return self._sandbox.enclose(attempt_dir.base, start_dir, files, network=self._has_network)

    @property
    def _has_network(self) -> bool:
        return NO_NETWORK not in self._requires

    @property
    def _has_messages(self) -> bool:
        """Whether the server and the agent know messages; a server of an older release says nothing of them."""
        return "messages" in self.job and self._agent.takes_messages

    def _set_masks(self, repository: JobRepository | None) -> None:
        """Mask secrets in the result too, and report the job's secrets that are too short to mask."""
        if repository is not None:
            repository.mask_with(self._secrets)
        for warning in self._secret_store.unmasked(entry.removeprefix(SECRET) for entry in self._requires):
            self._outbox.put({"type": "progress", "message": warning}, len(warning))

    def _note_agent_event(self, event: Event) -> None:
        if self._reader is not None:
            self._budget.note(self._used, self._reader.usage)
        if event["event"] in TURN_ENDS:
            self._turn_ended()

    def _note_event(self, event: Mapping[str, Any]) -> None:
        """Note the session that a job's event names, and the end of a turn."""
        if event.get("event") == "session":
            self._session = valid_session(event.get("sessionId"))
        elif str(event.get("event")) in TURN_ENDS:
            self._turn_ended()

    def _final_result(self) -> dict[str, Any]:
        """Return the agent's result and usage; nothing if its reader fails, so that the attempt still ends."""
        try:
            result, usage = (self._reader.result, self._reader.usage) if self._reader else (None, None)
        except Exception:  # noqa: BLE001 - a reader may fail on any value of its agent
            _log.exception("no result could be read", extra={"job": self.key[0], "attempt": self.key[1]})
            return {}
        used = total(self._used, usage or {}) if self._used else usage
        if self._budget.is_limited:
            used = {**(used or {}), "turns": self._budget.turns}
        return {"result": result_that_fits(result), "usage": usage_that_fits(used)}
