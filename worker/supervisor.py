"""The life of a worker: register, claim, run attempts side by side, drain or stop.

States: working; draining (by the server: no new claims, the worker ends once it has no attempts); stopping (by a signal
or the lifeline: no new claims, running attempts may finish within ``stop_seconds`` and are then released); replaced
(another process has the worker's id: everything is killed). The server has the authority. A worker that the server does
not know registers again; the server then reports its attempts as lost, because they are requeued.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import random
import secrets
import time
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from app.core.capabilities import OF_RELEASE
from app.rpc.client import CallError, Client, NoAnswer, State
from worker.agents.credentials import KnownRefusals
from worker.agents.verdict import Outcome
from worker.allocation import port_ranges
from worker.attempt import Attempt
from worker.caches import CacheDirectory
from worker.capabilities import WorkerCapabilities
from worker.lease import Heartbeat, HeartbeatReport
from worker.machine_health import MachineHealth
from worker.mailbox import MailboxMessage
from worker.output.wire_events import ServerLimits
from worker.processes.directories import sweep
from worker.processes.keeper import become_subreaper
from worker.processes.removal import RemovalQueue
from worker.repository.transfers import AttemptFiles
from worker.sandbox.base import NO_SANDBOX, Sandbox, labels_of
from worker.secret_store import SecretStore
from worker.settings import WorkerSettings
from worker.task_group import task_group
from worker.token import RENEWAL_SECONDS, WorkerToken

_log = logging.getLogger("ado.worker")
_WAIT_SECONDS = 20
_RELEASE_SECONDS = 2.0
_REMOVAL_SECONDS = 5.0
_TOKEN_POLL_SECONDS = 0.5
_IN_USE_PERIODS = 2.0  # the server forgets a killed process after one period
_CANCELLED = Outcome("cancelled", None, "cancelled")


class Supervisor:
    """One worker process."""

    def __init__(
        self,
        settings: WorkerSettings,
        capabilities: WorkerCapabilities,
        secret_store: SecretStore,
        token: WorkerToken,
        sandbox: Sandbox = NO_SANDBOX,
    ) -> None:
        self._settings = settings
        self._capabilities = capabilities
        self._secret_store = secret_store
        self._sandbox = sandbox
        self._machine_health = MachineHealth(settings.work_dir, port_ranges(settings))
        caches = CacheDirectory(Path(settings.cache_dir), settings.cache_bytes) if settings.cache_dir else None
        self._removals = RemovalQueue(caches.rescue) if caches else RemovalQueue()
        self._refusals = KnownRefusals()
        self._token = token
        self._instance = secrets.token_hex(8)
        self._client = Client(settings.url, token.value, on_state=self._connection, trust=settings.trust)
        self._session = ""
        self._file_bytes = 0
        self._limits = ServerLimits()
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._claimed = 0
        self._slot_freed = asyncio.Event()
        self._draining = asyncio.Event()
        self._stopping = asyncio.Event()
        self._unregistered = asyncio.Event()
        self._failure: str | None = None

    def stop(self) -> None:
        """Stop. The first call lets running attempts finish for a while, the second releases them at once."""
        if self._stopping.is_set():
            self._release_all()
        self._draining.set()
        self._stopping.set()

    async def run(self) -> int:
        """Work until stopped or drained; return the exit code of the process."""
        become_subreaper()
        self._sweep()
        async with self._client:
            while not self._draining.is_set():
                self._unregistered.clear()
                heartbeat = await self._register()
                if heartbeat is None:
                    break
                try:
                    await self._work()
                finally:
                    await heartbeat.stop(goodbye=self._draining.is_set() and self._failure is None)
        self._sweep()
        await asyncio.to_thread(self._removals.wait, _REMOVAL_SECONDS)
        if self._failure is not None:
            _log.error("worker ended", extra={"worker": self._settings.worker_id, "reason": self._failure})
        return 1 if self._failure else 0

    def _sweep(self) -> None:
        self._removals.submit(partial(sweep, self._settings.work_dir, self._removals))

    async def _register(self) -> Heartbeat | None:
        settings = self._settings
        value = {
            "workerId": settings.worker_id,
            "capabilities": list(dict.fromkeys((*self._capabilities.capabilities, *OF_RELEASE))),
            "labels": {**self._capabilities.labels, **labels_of(self._sandbox)},
            "resources": {"cpu": settings.cpu, "memory": settings.memory, "gpu": settings.gpu},
            "slots": settings.slots,
            "version": metadata.version("ado"),
            "pid": os.getpid(),
            "host": platform.node(),
            "instance": self._instance,
        }
        registration = await self._call_until_answered("workers.register", value)
        if registration is None:
            return None
        self._session = registration["session"]
        self._file_bytes = int(registration["fileBytes"])
        self._limits = ServerLimits.of(registration)
        _log.info("worker registered", extra={"worker": settings.worker_id})
        return Heartbeat(
            settings, self._token, registration, self._report, self._obey_answer, self._refused, self._use_token
        )

    def _report(self) -> HeartbeatReport:
        return HeartbeatReport(list(self._attempts), self._machine_health.problem)

    async def _call_until_answered(self, path: str, value: dict[str, Any]) -> Any:
        """Return a call's answer, however often it is repeated; None once the worker stops or is refused for good."""
        in_use_until: float | None = None
        while not self._stopping.is_set():
            used = self._token.value
            call = asyncio.create_task(self._client.mutate(path, value, resend=True), name=path)
            stopping = asyncio.create_task(self._stopping.wait(), name="stop")
            await asyncio.wait([call, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not call.done():
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
                return None
            try:
                return call.result()
            except NoAnswer:
                pass
            except CallError as error:
                if error.code == "UNAUTHORIZED" and self._token.renew(used):
                    self._use_token()
                    continue
                if error.reason == "token_in_use" and in_use_until is None:
                    _log.warning("the token is in use", extra={"detail": error.message})
                    in_use_until = time.monotonic() + _IN_USE_PERIODS * float(error.data.get("retrySeconds", 0))
                if _is_final(error, in_use_until):
                    self._failure = f"{error.message} ({error.hint})"
                    return None
            await _pause()
        return None

    async def _work(self) -> None:
        """Claim and run jobs until the worker drains or is unknown; a part that breaks ends the worker."""
        try:
            async with task_group() as group:
                watching = group.create_task(self._follow_commands(), name="commands")
                claiming = group.create_task(self._claim_for_ever(), name="claims")
                probing = group.create_task(self._machine_health.watch(), name="machine health")
                ends = [group.create_task(event.wait(), name="end") for event in (self._draining, self._unregistered)]
                await asyncio.wait([*ends, claiming], return_when=asyncio.FIRST_COMPLETED)
                claiming.cancel()
                if not self._unregistered.is_set():
                    await self._drain()
                for task in (watching, probing, *ends):
                    task.cancel()
        except Exception:
            self.stop()
            self._release_all()
            await self._drain()
            raise

    async def _drain(self) -> None:
        """Wait for running attempts; once stopping, for at most ``stop_seconds``."""
        stopping = asyncio.create_task(self._stopping.wait(), name="stop")
        while self._running and not stopping.done():
            await asyncio.wait([stopping, *self._running], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.stop_seconds)
        self._release_all()
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.grace_seconds + _RELEASE_SECONDS)
        for attempt in self._attempts.values():  # no server accepted the release; their leases expire
            attempt.lose()
        if self._running:
            await asyncio.wait(self._running)

    def _release_all(self) -> None:
        for attempt in self._attempts.values():
            attempt.stop(Outcome("released", None, "shutdown", "the worker was shut down"))

    async def _claim_for_ever(self) -> None:
        while not self._draining.is_set():
            if self._settings.max_jobs and self._claimed >= self._settings.max_jobs:
                self._draining.set()
                return
            await self._machine_health.wait_until_fit()
            free = self._settings.slots - len(self._running)
            if free <= 0:
                self._slot_freed.clear()
                await self._slot_freed.wait()
                continue
            value = {
                "workerId": self._settings.worker_id,
                "session": self._session,
                "limit": free,
                "waitSeconds": _WAIT_SECONDS,
                "credentials": True,
            }
            try:
                answer = await self._call("workers.claim", value)
            except CallError as error:
                self._refused(error.reason or error.code)
                await _pause()
            except NoAnswer:
                await _pause()
            else:
                for job in answer["jobs"]:
                    self._begin(job)

    def _begin(self, job: dict[str, Any]) -> None:
        self._claimed += 1
        parts = self._secret_store, self._machine_health, self._removals
        limits, subscribe = self._limits, self._client.subscribe
        attempt = Attempt(
            job, self._call, self._settings, self._files_for, *parts, limits, self._sandbox, subscribe=subscribe,
            refusals=self._refusals,
        )  # fmt: skip
        self._attempts[attempt.key] = attempt
        task = asyncio.create_task(attempt.run(), name=f"job {attempt.key[0]}")
        self._running.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._attempts.pop(attempt.key, None)
            self._running.discard(done)
            self._slot_freed.set()
            if not done.cancelled() and done.exception():
                _log.error("attempt broke", exc_info=done.exception(), extra={"job": attempt.key[0]})

        task.add_done_callback(ended)

    def _files_for(self, fence: Mapping[str, Any]) -> AttemptFiles:
        return AttemptFiles(self._settings.url, self._token, fence, self._file_bytes, self._settings.trust)

    async def _call(self, path: str, value: dict[str, Any]) -> Any:
        """Call the server, and again with a renewed token if it refuses the token. Raises CallError."""
        while True:
            used = self._token.value
            try:
                return await self._client.mutate(path, value, resend=True)
            except CallError as error:
                if error.code != "UNAUTHORIZED" or not await self._wait_for_newer_token(used):
                    raise

    async def _wait_for_newer_token(self, used: str) -> bool:
        """Wait for a newer token than the refused one, and use it; return False if none comes in time."""
        deadline = time.monotonic() + RENEWAL_SECONDS
        while not self._token.renew(used):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_TOKEN_POLL_SECONDS)
        self._use_token()
        return True

    def _use_token(self) -> None:
        if self._client.use_token(self._token.value):
            _log.info("the token was renewed", extra={"worker": self._settings.worker_id})
            self._secret_store.hide(self._token.value)

    async def _follow_commands(self) -> None:
        value = {"workerId": self._settings.worker_id, "session": self._session, "messages": True, "answers": True}
        while True:
            with contextlib.suppress(CallError, NoAnswer):
                async for item in self._client.subscribe("workers.commands", value):
                    self._obey(item.data)
            await _pause()

    def _obey(self, command: dict[str, Any]) -> None:
        if command["type"] == "drain":
            self._draining.set()
            return
        attempt = self._attempts.get((command.get("jobId", ""), command.get("attempt", 0)))
        match command["type"]:
            case _ if attempt is None:
                return
            case "cancel":
                attempt.stop(_CANCELLED)
            case "pause":
                attempt.pause()
            case "lost":
                attempt.lose()
            case "message":
                attempt.deliver(MailboxMessage.of(command["message"]))
            case "answer":
                attempt.settle(command["question"])

    def _obey_answer(self, answer: dict[str, Any]) -> None:
        for ref in answer["cancel"]:
            self._obey({"type": "cancel", **ref})
        for ref in answer.get("pause", ()):  # a server of an older release pauses nothing
            self._obey({"type": "pause", **ref})
        for ref in answer["lost"]:
            self._obey({"type": "lost", **ref})
        if answer["drain"]:
            self._draining.set()

    def _refused(self, reason: str) -> None:
        if reason == "no_such_worker":
            self._unregistered.set()
        elif reason in ("worker_replaced", "orphaned", "UNAUTHORIZED", "FORBIDDEN", "token_invalid", "forbidden"):
            if reason != "orphaned":
                self._failure = reason
            for attempt in self._attempts.values():
                attempt.lose()
            if reason != "orphaned":
                self._draining.set()

    def _connection(self, state: State) -> None:
        if state.kind == "moving":
            _log.info("the server moves its clients", extra={"url": state.url})
        elif state.kind == "lost":
            _log.warning("connection lost", extra={"url": state.url, "detail": state.detail})


def _is_final(error: CallError, in_use_until: float | None) -> bool:
    """Whether a registration is refused for good: a token in use may belong to a process that was just killed."""
    if error.reason == "token_in_use" and in_use_until is not None:
        return time.monotonic() > in_use_until
    return error.code in ("UNAUTHORIZED", "FORBIDDEN", "BAD_REQUEST")


async def _pause() -> None:
    """Wait before the next try, for a random time: the workers of one server must not return at the same moment."""
    await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - nothing secret depends on it
