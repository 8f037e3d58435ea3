"""The spawner's statements, on psycopg-pool: the spawner is threaded, because cluster clients are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from db.errors import DatabaseUnavailable
from db.model import AttemptKey, Demand, Resources
from db.queries import load
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
    """A small pool; every public method is one transaction. Raises DatabaseUnavailable."""

    def __init__(self, dsn: str) -> None:
        self._pool = ConnectionPool(
            dsn,
            min_size=1,
            max_size=2,
            open=False,
            timeout=10,
            kwargs={"row_factory": dict_row, "application_name": "ado-spawner", "prepare_threshold": None},
            check=ConnectionPool.check_connection,
        )

    def open(self) -> None:
        """Connect, waiting up to ten seconds."""
        try:
            self._pool.open(wait=True, timeout=10)
        except PoolTimeout as error:
            raise DatabaseUnavailable(f"cannot connect to the database: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        try:
            with self._pool.connection() as connection:
                yield connection  # type: ignore[misc]
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise DatabaseUnavailable(f"the database did not answer: {type(error).__name__}") from error

    @contextmanager
    def deciding(self, backend: str) -> Iterator[Decider | None]:
        """Hold the backend's decision lock for the block; None when another spawner holds it."""
        with self._transaction() as connection:
            locked = _rows(connection, "try_spawner_lock", backend=backend)[0]["locked"]
            yield Decider(connection, backend) if locked else None

    def create_token(self, token: NewToken) -> Mapping[str, Any]:
        """Store a token."""
        with self._transaction() as connection:
            return _rows(connection, "create_token", **token.values)[0]

    def forget_request(self, worker_id: str) -> None:
        """Take back a decision that could not be carried out."""
        with self._transaction() as connection:
            _rows(connection, "forget_request", worker_id=worker_id)

    def worker_gone(self, worker_id: str) -> None:
        """Record that a worker's process has ended and queue what it held again, at once."""
        with self._transaction() as connection:
            _rows(connection, "worker_gone", worker_id=worker_id)  # first: from here on it can claim nothing
            held = _rows(connection, "held_jobs", worker_id=worker_id)
            keys: list[AttemptKey] = [(row["task_id"], row["job"], row["attempt"]) for row in held]
            _rows(
                connection,
                "end_attempts",
                task_ids=[key[0] for key in keys],
                jobs=[key[1] for key in keys],
                attempts=[key[2] for key in keys],
                loss=1,
                overdue_only=False,
                reason="lost",
            )


class Decider:
    """What may be read and decided while the decision lock is held."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], backend: str) -> None:
        self._connection = connection
        self._backend = backend

    def situation(self) -> Situation:
        """Read demand and supply."""
        demands = tuple(
            Demand(frozenset(row["needs"]), Resources(row["cpu"], row["memory"], row["gpu"]), row["jobs"])
            for row in _rows(self._connection, "ready_demands", count_limit=1000)
        )
        scales = tuple(
            Scale(frozenset(row["capabilities"]), row["count"]) for row in _rows(self._connection, "list_scales")
        )
        return Situation(demands, tuple(_supply(row) for row in _rows(self._connection, "spawner_workers")), scales)

    def request(self, worker_id: str, capabilities: Sequence[str], resources: Resources, slots: int, host: str) -> None:
        """Decide for a worker; the process comes after the commit."""
        _rows(
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
        _rows(self._connection, "retire_worker", worker_id=worker_id)
        _rows(self._connection, "notify_worker", worker_id=worker_id)

    def forget(self, worker_id: str) -> None:
        """Drop a request that no process answered."""
        _rows(self._connection, "forget_request", worker_id=worker_id)


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


def _rows(connection: psycopg.Connection[dict[str, Any]], name: str, /, **values: Any) -> list[dict[str, Any]]:
    query = load()[name]
    query.arguments(values)
    cursor = connection.execute(query.named.encode(), values)
    return cursor.fetchall() if cursor.description else []
