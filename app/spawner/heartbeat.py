"""One step of a spawner, and its heartbeat: that it lives, what it offers, and what keeps it from starting workers."""

from __future__ import annotations

import logging
import platform
import secrets
import time
from collections.abc import Callable, Iterable

from db.errors import DatabaseError, DatabaseUnavailable
from db.spawning import SpawnerRegistration
from db.sync_database import SyncPool

_log = logging.getLogger("ado.spawner")
_SECONDS = 5.0  # a spawner counts as silent after six times as long, so a few lost heartbeats do not show


class SpawnerHeartbeat:
    """Writes a spawner's row every few seconds; while the database is away, only heartbeats are lost."""

    def __init__(self, row: SpawnerRegistration) -> None:
        self._row = row
        self._written_at = float("-inf")

    @classmethod
    def of(cls, pool: SyncPool, backend: str, max_workers: int) -> SpawnerHeartbeat:
        """Return the heartbeat of a new spawner on this machine."""
        host = platform.node()
        return cls(SpawnerRegistration(pool, f"{backend}-{host}-{secrets.token_hex(3)}", backend, host, max_workers))

    def beat(self, capabilities: Iterable[str], problem: str | None = None) -> None:
        """Record the spawner's present state, unless something was recorded less than 5 s ago."""
        if time.monotonic() - self._written_at < _SECONDS:
            return
        try:
            self._row.write(capabilities, problem)
        except DatabaseError:
            _log.debug("heartbeat not written")  # the next step logs that the database is away
        else:
            self._written_at = time.monotonic()

    def stop(self) -> None:
        """Record that the spawner stops."""
        try:
            self._row.remove()
        except DatabaseError:
            _log.warning("the end of the spawner was not recorded: the database does not answer")


def try_step(step: Callable[[], None]) -> tuple[bool, str | None]:
    """Run one step of a spawner; the loop outlives its errors.

    Returns whether the database answered, and what a heartbeat says of a step that failed.
    """
    try:
        step()
    except DatabaseUnavailable as error:
        _log.warning("spawner waits for the database", extra={"detail": str(error)})
        return False, None
    except Exception as error:  # noqa: BLE001 - a loop outlives its steps
        _log.exception("step failed", extra={"step": "spawner"})
        return True, f"its last step failed: {error}"
    return True, None
