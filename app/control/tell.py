"""Wakes the command streams of workers that have something to be told, in case the hint was lost.

Two statements a poll interval for all the workers of a replica; each woken stream reads for itself what is open.
"""

from __future__ import annotations

from app.log.hub import Hub
from db import workers
from db.database import Database
from db.workers import Held


class CommandPoll:
    """Looks for commands; keeps what every worker held at the last look, because a lost attempt leaves no command."""

    def __init__(self, db: Database, hub: Hub) -> None:
        self._db = db
        self._hub = hub
        self._held: frozenset[Held] = frozenset()

    async def step(self) -> None:
        """Look once; nothing is asked while no worker listens here."""
        if not self._hub.anybody_for("w"):
            self._held = frozenset()
            return
        held = await workers.all_held(self._db)
        for worker_id in await workers.to_tell(self._db, self._held - held):
            self._hub.wake(("w", worker_id))
        self._held = held
