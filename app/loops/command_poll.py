"""Wakes the command streams of workers that have a command waiting, in case its hint was lost.

It runs two statements per poll interval for all workers of the replica. Each woken stream reads its own commands.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.log.hub import Hub
from db import workers
from db.database import Database
from db.model import AttemptKey


class CommandPoll:
    """Polls for commands. It keeps what each worker held at the last poll, because a lost attempt leaves no row."""

    def __init__(self, db: Database, hub: Hub) -> None:
        self._db = db
        self._hub = hub
        self._held: Mapping[str, frozenset[AttemptKey]] = {}

    def held_by(self, worker_id: str) -> frozenset[AttemptKey]:
        """Return the attempts that a worker held at the last poll."""
        return self._held.get(worker_id, frozenset())

    async def step(self) -> None:
        """Poll once; send no query while no worker listens on this replica."""
        if not self._hub.anybody_for("w"):
            self._held = {}
            return
        held = await workers.all_held(self._db)
        gone = [(name, key) for name, keys in self._held.items() for key in keys - held.get(name, frozenset())]
        for worker_id in await workers.with_commands(self._db, gone):
            self._hub.wake(("w", worker_id))
        self._held = held
