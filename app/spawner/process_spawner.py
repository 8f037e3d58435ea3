"""The spawner: starts workers for queued jobs, ends idle ones. A process of its own; any number may run.

Authority: rows of ado.workers. A decision is made and recorded under a transaction's advisory lock, one spawner at a
time; carrying it out comes after the commit. A spawner killed in between leaves a request that nobody answers; it is
forgotten after ``start_seconds`` and decided again. A worker whose process is seen to end has its jobs queued again
at once; one whose spawner died is found by its lease.
"""

from __future__ import annotations

import logging
import secrets
import threading
from importlib.metadata import version

from app.spawner.backends.base import Backend
from app.spawner.decide import Limits, decide
from app.spawner.heartbeat import Presence
from app.spawner.start_rate import Starts
from db import tokens
from db.errors import DatabaseUnavailable
from db.spawning import SpawnerDatabase

_log = logging.getLogger("ado.spawner")


class Spawner:
    """One spawner process over one backend."""

    def __init__(
        self, database: SpawnerDatabase, backend: Backend, limits: Limits, presence: Presence, *, interval: float
    ) -> None:
        self._database = database
        self._presence = presence
        self._backend = backend
        self._limits = limits
        self._interval = interval
        self._starts = Starts()

    def run(self, stopping: threading.Event) -> None:
        """Step until told to stop, then end the workers."""
        offered = sorted(self._backend.offer.capabilities)
        most = self._limits.max_workers
        _log.info("spawner started", extra={"offers": offered, "max_workers": most, "version": version("ado")})
        while not stopping.wait(self._interval):
            problem = None
            try:
                self.step()
            except DatabaseUnavailable as error:
                _log.warning("spawner waits for the database", extra={"detail": str(error)})
            except Exception as error:  # noqa: BLE001 - a loop outlives its steps
                _log.exception("step failed", extra={"step": "spawner"})
                problem = f"its last step failed: {error}"
            self._presence.beat(self._backend.offer.capabilities, problem)
        self._presence.leave()

    def step(self) -> None:
        """Look once, decide, and act."""
        for gone in self._backend.ended():
            _log.info("worker ended", extra={"worker": gone.worker_id, "code": gone.code})
            self._database.worker_gone(gone.worker_id)
            self._starts.note(gone)
        for worker_id in self._decide():
            self._start(worker_id)

    def _decide(self) -> list[str]:
        with self._database.deciding(self._backend.name) as decider:
            if decider is None:
                return []
            decision = decide(decider.situation(), self._backend.offer, self._limits, self._backend.name)
            for worker_id in decision.forget:
                decider.forget(worker_id)
            for worker_id in decision.drain:
                decider.retire(worker_id)
            offer = self._backend.offer
            count = min(decision.start, self._starts.allowed())
            started = [f"{self._backend.name}-{secrets.token_hex(4)}" for _ in range(count)]
            for worker_id in started:
                decider.request(worker_id, sorted(offer.capabilities), offer.resources, offer.slots, self._backend.host)
        if decision.drain or decision.forget:
            _log.info("workers retired", extra={"drained": decision.drain, "forgotten": decision.forget})
        return started

    def _start(self, worker_id: str) -> None:
        token = tokens.new(
            "worker", worker_id=worker_id, capabilities=sorted(self._backend.offer.capabilities), single=True
        )
        try:
            self._database.create_token(token)
            self._backend.start(worker_id, token.token)
        except OSError as error:
            _log.exception("worker did not start", extra={"worker": worker_id, "error": str(error)})
            self._database.forget_request(worker_id)
        else:
            _log.info("worker started", extra={"worker": worker_id})
