"""Wakes the command streams of workers that have something to be told, in case the hint was lost.

Two statements a poll interval for all the workers of a replica; each woken stream reads for itself what is open.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.log.hub import Hub
from db import workers
from db.database import Database
from db.model import AttemptKey


class CommandPoll:
    """Looks for commands; keeps what every worker held at the last look, because a lost attempt leaves no command."""

    def __init__(self, db: Database, hub: Hub) -> None:
        self._db = db
        self._hub = hub
        self._held: Mapping[str, frozenset[AttemptKey]] = {}

    def held_by(self, worker_id: str) -> frozenset[AttemptKey]:
        """Return what a worker held at the last look; what a later look misses of it has ended since."""
        return self._held.get(worker_id, frozenset())

    async def step(self) -> None:
        """Look once; nothing is asked while no worker listens here."""
        if not self._hub.anybody_for("w"):
            self._held = {}
            return
        held = await workers.all_held(self._db)
        gone = [(name, key) for name, keys in self._held.items() for key in keys - held.get(name, frozenset())]
        for worker_id in await workers.to_tell(self._db, gone):
            self._hub.wake(("w", worker_id))
        self._held = held
