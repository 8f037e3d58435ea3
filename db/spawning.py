"""The statements of spawners of any backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from db.autoscale import AutoscaleRange, SurplusNote, ranges_of
from db.connect import SyncConnection, run
from db.model import AttemptKey, Demand, ResourceAmounts, parameters_of, record_of
from db.sync_database import SyncPool
from db.tokens import NewToken


@dataclass(frozen=True, slots=True)
class FleetWorker:
    """A worker as the spawner sees it."""

    worker_id: str
    state: str
    backend: str | None
    host: str | None
    capabilities: frozenset[str]
    free_slots: int
    free: ResourceAmounts
    requested_seconds_ago: float
    idle_seconds: float

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> FleetWorker:
        """Make one from a row of ``spawner_workers``."""
        free = ResourceAmounts(row["free_cpu"], row["free_memory"], row["free_gpu"])
        return record_of(cls, row, capabilities=frozenset(row["capabilities"]), free=free)

    def with_job(self, need: ResourceAmounts) -> FleetWorker:
        """Return the worker as it is once it has one more job."""
        free = ResourceAmounts(self.free.cpu - need.cpu, self.free.memory - need.memory, self.free.gpu - need.gpu)
        return replace(self, free_slots=self.free_slots - 1, free=free)


@dataclass(frozen=True, slots=True)
class ScaleRow:
    """This many workers with these capabilities are kept when idle."""

    capabilities: frozenset[str]
    count: int


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """Demand and supply at one moment."""

    demands: tuple[Demand, ...]
    workers: tuple[FleetWorker, ...]
    scales: tuple[ScaleRow, ...]
    ranges: tuple[AutoscaleRange, ...] = ()


class SpawnerDatabase:
    """The statements of a spawner of processes; every public method is one transaction. Raises DatabaseUnavailable."""

    def __init__(self, pool: SyncPool) -> None:
        self._pool = pool

    @contextmanager
    def deciding(self, backend: str) -> Iterator[DecisionTransaction | None]:
        """Hold the decision locks for the block; None when another spawner holds one."""
        with self._pool.transaction() as connection:
            ranges = lock_decisions(connection, backend)
            yield None if ranges is None else DecisionTransaction(connection, backend, ranges)

    def create_token(self, token: NewToken) -> None:
        """Store a token."""
        self._pool.run("create_token", **token.values, actor=None)

    def forget_request(self, worker_id: str) -> None:
        """Delete the request of a worker that could not be started."""
        self._pool.run("forget_request", worker_id=worker_id)

    def worker_gone(self, worker_id: str) -> None:
        """Record that a worker's process has ended, and queue its jobs again at once."""
        with self._pool.transaction() as connection:
            run(connection, "worker_gone", worker_id=worker_id)  # first: from here on the worker claims nothing
            requeue_lost(connection, held(connection, worker_id), "lost")


class DecisionTransaction:
    """What may be read and decided while the decision lock is held."""

    def __init__(self, connection: SyncConnection, backend: str, ranges: tuple[AutoscaleRange, ...]) -> None:
        self._connection = connection
        self._backend = backend
        self._ranges = ranges

    def snapshot(self, capabilities: Iterable[str], resources: ResourceAmounts) -> FleetSnapshot:
        """Read supply, then the demand that a worker with these capabilities and resources can meet.

        In this order, a job that is claimed in between does not seem to have no worker left.
        """
        workers, kept = fleet_workers(self._connection), scales(self._connection)
        rows = run(
            self._connection,
            "ready_demands",
            offered=sorted(capabilities),
            count_limit=count_limit(self._ranges),
            in_all=None,
            **parameters_of(resources),
        )
        return FleetSnapshot(tuple(Demand.of(row) for row in rows), workers, kept, self._ranges)

    def request(
        self, worker_id: str, capabilities: Sequence[str], resources: ResourceAmounts, slots: int, host: str
    ) -> None:
        """Record the decision for a worker; its process is started after the commit."""
        run(
            self._connection,
            "request_worker",
            worker_id=worker_id,
            capabilities=sorted(capabilities),
            **parameters_of(resources),
            slots=slots,
            backend=self._backend,
            host=host,
        )

    def retire(self, worker_id: str, *, busy: bool = False) -> None:
        """Drain a worker, with ``busy`` also one that has jobs: it ends after them."""
        run(self._connection, "retire_worker", worker_id=worker_id, busy=busy)

    def note(self, note: SurplusNote) -> None:
        """Store what a range has to remember."""
        note_surplus(self._connection, note)

    def forget(self, worker_id: str) -> None:
        """Delete a request that no process answered."""
        run(self._connection, "forget_request", worker_id=worker_id)


class SpawnerRegistration:
    """The row of one spawner; every method is one transaction. Raises DatabaseError."""

    def __init__(self, pool: SyncPool, spawner_id: str, backend: str, host: str, max_workers: int) -> None:
        self._pool = pool
        self._spawner_id = spawner_id
        self._constants = {"backend": backend, "host": host, "max_workers": max_workers}

    def write(self, capabilities: Iterable[str], problem: str | None) -> None:
        """Record that it lives, what its workers offer, and what keeps it from starting them."""
        self._pool.run(
            "spawner_heartbeat",
            spawner_id=self._spawner_id,
            capabilities=sorted(capabilities),
            problem=problem,
            **self._constants,
        )

    def remove(self) -> None:
        """Record that it stops."""
        self._pool.run("spawner_stopped", spawner_id=self._spawner_id)


def lock_decisions(connection: SyncConnection, backend: str) -> tuple[AutoscaleRange, ...] | None:
    """Lock the decisions of a backend, and of all backends while there are ranges; return the ranges.

    None: another spawner is deciding.
    """
    if not run(connection, "try_spawner_lock", backend=backend)[0]["locked"]:
        return None
    lock = run(connection, "lock_autoscale")
    if not lock:
        return ()
    return ranges_of(run(connection, "list_autoscale")) if lock[0]["locked"] else None


def note_surplus(connection: SyncConnection, note: SurplusNote) -> None:
    """Store what a range has to remember."""
    run(connection, "note_surplus", capability=note.capability, peak=note.peak, restart=note.restart)


def count_limit(ranges: Sequence[AutoscaleRange]) -> int:
    """Return up to how many queued jobs matter to a decision."""
    return max([1000, *(one.maximum * (one.target_queue + 1) for one in ranges)])


def fleet_workers(connection: SyncConnection) -> tuple[FleetWorker, ...]:
    """Read the workers that claim jobs, or will."""
    return tuple(FleetWorker.of(row) for row in run(connection, "spawner_workers"))


def scales(connection: SyncConnection) -> tuple[ScaleRow, ...]:
    """Read how many workers are kept."""
    return tuple(ScaleRow(frozenset(row["capabilities"]), row["count"]) for row in run(connection, "list_scales"))


def held(connection: SyncConnection, worker_id: str) -> list[AttemptKey]:
    """Return the running attempts of a worker."""
    return [(row["task_id"], row["job"], row["attempt"]) for row in run(connection, "held_jobs", worker_id=worker_id)]


def requeue_lost(connection: SyncConnection, keys: Sequence[AttemptKey], reason: str) -> list[int]:
    """Queue attempts of a lost worker again; return the tasks of those that failed by one loss too many."""
    rows = run(
        connection,
        "end_attempts",
        task_ids=[key[0] for key in keys],
        jobs=[key[1] for key in keys],
        attempts=[key[2] for key in keys],
        loss=1,
        overdue_only=False,
        reason=reason,
    )
    return [row["task_id"] for row in rows if row["status"] != "queued"]
