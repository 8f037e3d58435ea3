"""A spawner's heartbeat: it lives, this is what it offers, and this keeps it from starting workers."""

from __future__ import annotations

import logging
import platform
import secrets
import time
from collections.abc import Iterable

from db.errors import DatabaseError
from db.spawner_heartbeat import SpawnerRow
from db.sync_database import Pool

_log = logging.getLogger("ado.spawner")
_SECONDS = 5.0  # a sixth of what makes it silent, so that a few lost ones are not noticed


class Presence:
    """Writes a spawner's row now and then; a database that is away costs nothing but the news."""

    def __init__(self, row: SpawnerRow) -> None:
        self._row = row
        self._written_at = float("-inf")

    @classmethod
    def of(cls, pool: Pool, backend: str, max_workers: int) -> Presence:
        """Return the presence of a new spawner on this machine."""
        host = platform.node()
        return cls(SpawnerRow(pool, f"{backend}-{host}-{secrets.token_hex(3)}", backend, host, max_workers))

    def beat(self, capabilities: Iterable[str], problem: str | None = None) -> None:
        """Record what is so now, unless something was recorded less than 5 s ago."""
        if time.monotonic() - self._written_at < _SECONDS:
            return
        try:
            self._row.write(capabilities, problem)
        except DatabaseError:
            _log.debug("heartbeat not written")  # the step that comes next says so
        else:
            self._written_at = time.monotonic()

    def leave(self) -> None:
        """Record that the spawner stops."""
        try:
            self._row.remove()
        except DatabaseError:
            _log.warning("spawner ends unheard: the database does not answer")
