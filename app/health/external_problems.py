"""Problems outside this replica: spawners that stopped, and database sessions whose locks block others.

They do not make a replica unready, because another replica could do no better. Each read has two seconds, because a
locked table must not block the caller, and its outcome is reused for five seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from db import health
from db.database import Database
from db.errors import DatabaseError
from db.health import BlockerRow

_log = logging.getLogger("ado.api")
_REUSE_SECONDS = 5.0
_READ_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ExternalProblems:
    """The problems of one reading; None: that part could not be read."""

    silent_spawners: list[str] | None = None
    blockers: list[BlockerRow] | None = None

    def warnings(self) -> dict[str, str]:
        """Return the warnings by part; they are public, so they name no session and no spawner."""
        warnings = {}
        if self.silent_spawners:
            warnings["spawner"] = f"{len(self.silent_spawners)} stopped sending heartbeats"
        if self.blockers:
            count = len(self.blockers)
            sessions = "1 session holds" if count == 1 else f"{count} sessions hold"
            warnings["locks"] = f"{sessions} up {sum(blocker.blocked for blocker in self.blockers)} others"
        return warnings


@dataclass(slots=True)
class ExternalProblemWatch:
    """Reads the problems at most every five seconds."""

    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _external_problems: ExternalProblems = field(default_factory=ExternalProblems)
    _read_at: float = float("-inf")

    async def report(self, db: Database) -> ExternalProblems:
        """Return the problems of the last five seconds, or read them again."""
        async with self._reading:
            if time.monotonic() - self._read_at > _REUSE_SECONDS:
                blockers, spawners = await asyncio.gather(_blockers(db), _spawners(db))
                external_problems = ExternalProblems(blockers=blockers, silent_spawners=spawners)
                _log_new(self._external_problems, external_problems)
                self._external_problems = external_problems
                self._read_at = time.monotonic()
            return self._external_problems


def _log_new(before: ExternalProblems, now: ExternalProblems) -> None:
    """Log the problems that were not there at the last reading."""
    known = {blocker.pid for blocker in before.blockers or ()}
    for blocker in now.blockers or ():
        if blocker.pid not in known:
            session = {"pid": blocker.pid, "role": blocker.role, "application": blocker.application}
            _log.warning("a session holds a lock that others wait for", extra={**session, "blocked": blocker.blocked})
    for spawner in now.silent_spawners or ():
        if spawner not in (before.silent_spawners or ()):
            _log.warning("a spawner stopped sending heartbeats", extra={"spawner": spawner})


async def _blockers(db: Database) -> list[BlockerRow] | None:
    try:
        async with asyncio.timeout(_READ_SECONDS):
            return await health.blockers(db)
    except (DatabaseError, TimeoutError):
        return None


async def _spawners(db: Database) -> list[str] | None:
    try:
        async with asyncio.timeout(_READ_SECONDS):
            return await health.silent_spawners(db)
    except (DatabaseError, TimeoutError):
        return None
