"""The heartbeat rows of spawners, as a spawner writes them."""

from __future__ import annotations

from collections.abc import Iterable

from db.sync_database import Pool, rows


class SpawnerRow:
    """One spawner's row; every method is one transaction. Raises DatabaseError."""

    def __init__(self, pool: Pool, spawner_id: str, backend: str, host: str, max_workers: int) -> None:
        self._pool = pool
        self._spawner_id = spawner_id
        self._backend = backend
        self._host = host
        self._max_workers = max_workers

    def write(self, capabilities: Iterable[str], problem: str | None) -> None:
        """Record that it lives, what its workers offer, and what keeps it from starting them."""
        with self._pool.transaction() as connection:
            rows(
                connection,
                "spawner_heartbeat",
                spawner_id=self._spawner_id,
                backend=self._backend,
                host=self._host,
                capabilities=sorted(capabilities),
                max_workers=self._max_workers,
                problem=problem,
            )

    def remove(self) -> None:
        """Record that it stops."""
        with self._pool.transaction() as connection:
            rows(connection, "spawner_stopped", spawner_id=self._spawner_id)
