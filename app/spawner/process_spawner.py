"""The spawner of processes: starts workers for queued jobs and ends idle ones. Any number of spawners may run.

Authority: rows of ado.workers. One spawner at a time decides, and records its decision, under a transaction's advisory
lock. It acts after the commit. If it is killed in between, it leaves a request that no worker answers; after
``start_seconds`` a spawner forgets the request and decides again. When a worker's process ends, the spawner queues its
jobs again at once. When the spawner is dead as well, the worker's lease runs out.
"""

from __future__ import annotations

import logging
import secrets
import threading
from importlib.metadata import version

from app.spawner.backends.base import Backend, EndedWorker
from app.spawner.decide import SpawnerLimits, decide
from app.spawner.heartbeat import SpawnerHeartbeat, try_step
from app.spawner.start_rate import StartRate
from db import tokens
from db.spawning import SpawnerDatabase

_log = logging.getLogger("ado.spawner")


class ProcessSpawner:
    """One spawner process over one backend."""

    def __init__(
        self,
        database: SpawnerDatabase,
        backend: Backend,
        limits: SpawnerLimits,
        heartbeat: SpawnerHeartbeat,
        *,
        interval: float,
    ) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._backend = backend
        self._limits = limits
        self._interval = interval
        self._start_rate = StartRate()
        self._unrecorded: list[EndedWorker] = []
        """Ended workers that the database does not know of yet; the backend names each only once."""

    def run(self, stopping: threading.Event) -> None:
        """Step until ``stopping`` is set."""
        offered = sorted(self._backend.spec.capabilities)
        most = self._limits.max_workers
        _log.info("spawner started", extra={"offers": offered, "max_workers": most, "version": version("ado")})
        while not stopping.wait(self._interval):
            _, problem = try_step(self.step)
            self._heartbeat.beat(self._backend.spec.capabilities, problem)
        self._heartbeat.stop()

    def step(self) -> None:
        """Record ended workers, decide, and start workers."""
        for ended in self._backend.ended():
            _log.info("worker ended", extra={"worker": ended.worker_id, "code": ended.code})
            self._start_rate.record(ended)
            self._unrecorded.append(ended)
        while self._unrecorded:
            self._database.worker_gone(self._unrecorded[0].worker_id)
            del self._unrecorded[0]
        for worker_id in self._decide():
            self._start(worker_id)

    def _decide(self) -> list[str]:
        with self._database.deciding(self._backend.name) as decider:
            if decider is None:
                return []
            spec = self._backend.spec
            snapshot = decider.snapshot(spec.capabilities, spec.resources)
            decision = decide(snapshot, spec, self._limits, self._backend.name)
            for worker_id in decision.forget:
                decider.forget(worker_id)
            for worker_id in decision.drain:
                decider.retire(worker_id)
            for worker_id in decision.drain_busy:
                decider.retire(worker_id, busy=True)
            for note in decision.notes:
                decider.note(note)
            count = min(decision.start, self._start_rate.allowed())
            requested = [f"{self._backend.name}-{secrets.token_hex(4)}" for _ in range(count)]
            for worker_id in requested:
                decider.request(worker_id, sorted(spec.capabilities), spec.resources, spec.slots, self._backend.host)
        drained = (*decision.drain, *decision.drain_busy)
        if drained or decision.forget:
            _log.info("workers retired", extra={"drained": drained, "forgotten": decision.forget})
        return requested

    def _start(self, worker_id: str) -> None:
        token = tokens.new(
            "worker", worker_id=worker_id, capabilities=sorted(self._backend.spec.capabilities), single=True
        )
        try:
            self._database.create_token(token)
            self._backend.start(worker_id, token.token)
        except OSError as error:
            _log.exception("worker did not start", extra={"worker": worker_id, "error": str(error)})
            self._database.forget_request(worker_id)
        else:
            _log.info("worker started", extra={"worker": worker_id})
