"""The statements of spawners of any backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from db.model import AttemptKey, Demand, Resources
from db.sync_database import Connection, Pool, rows
from db.tokens import NewToken


@dataclass(frozen=True, slots=True)
class Supply:
    """A worker as the spawner sees it."""

    worker_id: str
    state: str
    backend: str | None
    host: str | None
    capabilities: frozenset[str]
    free_slots: int
    free: Resources
    requested_seconds_ago: float
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class Scale:
    """So many workers of these capabilities are kept when idle."""

    capabilities: frozenset[str]
    count: int


@dataclass(frozen=True, slots=True)
class Situation:
    """Demand and supply at one moment."""

    demands: tuple[Demand, ...]
    workers: tuple[Supply, ...]
    scales: tuple[Scale, ...]


class SpawnerDatabase:
    """What a spawner of any backend asks; every public method is one transaction. Raises DatabaseUnavailable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @contextmanager
    def deciding(self, backend: str) -> Iterator[Decider | None]:
        """Hold the backend's decision lock for the block; None when another spawner holds it."""
        with self._pool.transaction() as connection:
            locked = rows(connection, "try_spawner_lock", backend=backend)[0]["locked"]
            yield Decider(connection, backend) if locked else None

    def create_token(self, token: NewToken) -> Mapping[str, Any]:
        """Store a token."""
        with self._pool.transaction() as connection:
            return rows(connection, "create_token", **token.values, actor=None)[0]

    def forget_request(self, worker_id: str) -> None:
        """Take back a decision that could not be carried out."""
        with self._pool.transaction() as connection:
            rows(connection, "forget_request", worker_id=worker_id)

    def worker_gone(self, worker_id: str) -> None:
        """Record that a worker's process has ended and queue what it held again, at once."""
        with self._pool.transaction() as connection:
            rows(connection, "worker_gone", worker_id=worker_id)  # first: from here on it can claim nothing
            lose(connection, held(connection, worker_id), "lost")


class Decider:
    """What may be read and decided while the decision lock is held."""

    def __init__(self, connection: Connection, backend: str) -> None:
        self._connection = connection
        self._backend = backend

    def situation(self) -> Situation:
        """Read demand and supply."""
        demands = tuple(
            Demand(frozenset(row["needs"]), Resources(row["cpu"], row["memory"], row["gpu"]), row["jobs"])
            for row in rows(self._connection, "ready_demands", offered=None, count_limit=1000)
        )
        return Situation(demands, supplies(self._connection), scales(self._connection))

    def request(self, worker_id: str, capabilities: Sequence[str], resources: Resources, slots: int, host: str) -> None:
        """Decide for a worker; the process comes after the commit."""
        rows(
            self._connection,
            "request_worker",
            worker_id=worker_id,
            capabilities=sorted(capabilities),
            cpu=resources.cpu,
            memory=resources.memory,
            gpu=resources.gpu,
            slots=slots,
            backend=self._backend,
            host=host,
        )

    def retire(self, worker_id: str) -> None:
        """Drain an idle worker."""
        rows(self._connection, "retire_worker", worker_id=worker_id)

    def forget(self, worker_id: str) -> None:
        """Drop a request that no process answered."""
        rows(self._connection, "forget_request", worker_id=worker_id)


def supplies(connection: Connection) -> tuple[Supply, ...]:
    """Read the workers that can take jobs, or will."""
    return tuple(_supply(row) for row in rows(connection, "spawner_workers"))


def scales(connection: Connection) -> tuple[Scale, ...]:
    """Read how many workers are kept."""
    return tuple(Scale(frozenset(row["capabilities"]), row["count"]) for row in rows(connection, "list_scales"))


def _supply(row: Mapping[str, Any]) -> Supply:
    return Supply(
        worker_id=row["worker_id"],
        state=row["state"],
        backend=row["backend"],
        host=row["host"],
        capabilities=frozenset(row["capabilities"]),
        free_slots=row["free_slots"],
        free=Resources(row["free_cpu"], row["free_memory"], row["free_gpu"]),
        requested_seconds_ago=row["requested_seconds_ago"],
        idle_seconds=row["idle_seconds"],
    )


def held(connection: Connection, worker_id: str) -> list[AttemptKey]:
    """Return what a worker holds."""
    return [(row["task_id"], row["job"], row["attempt"]) for row in rows(connection, "held_jobs", worker_id=worker_id)]


def lose(connection: Connection, keys: Sequence[AttemptKey], reason: str) -> list[int]:
    """Queue attempts of a lost worker again; return the tasks of those that this was one loss too many for."""
    ended = rows(
        connection,
        "end_attempts",
        task_ids=[key[0] for key in keys],
        jobs=[key[1] for key in keys],
        attempts=[key[2] for key in keys],
        loss=1,
        overdue_only=False,
        reason=reason,
    )
    return [row["task_id"] for row in ended if row["status"] != "queued"]
