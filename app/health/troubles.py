"""What is wrong beside this replica: spawners that stopped, and sessions whose locks hold others up.

Neither makes a replica unready: another replica could do no better. Both are looked at within two seconds, because a
locked table must not hold up whoever asks, and are worth five.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from db import health
from db.database import Database
from db.errors import DatabaseError
from db.health import Blocker

_log = logging.getLogger("ado.api")
_WORTH_SECONDS = 5.0
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Troubles:
    """What was seen; None: it could not be looked at."""

    silent_spawners: list[str] | None = None
    blockers: list[Blocker] | None = None

    def warnings(self) -> dict[str, str]:
        """Return what everybody may know, by part: no names of sessions or spawners."""
        found = {}
        if self.silent_spawners:
            found["spawner"] = f"{len(self.silent_spawners)} stopped without a word"
        if self.blockers:
            count = len(self.blockers)
            sessions = "1 session holds" if count == 1 else f"{count} sessions hold"
            found["locks"] = f"{sessions} up {sum(one.blocked for one in self.blockers)} others"
        return found


@dataclass(slots=True)
class TroubleWatch:
    """Looks at most every five seconds."""

    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _found: Troubles = field(default_factory=Troubles)
    _found_at: float = float("-inf")

    async def look(self, db: Database) -> Troubles:
        """Return what was seen less than five seconds ago, or look again."""
        async with self._looking:
            if time.monotonic() - self._found_at > _WORTH_SECONDS:
                blockers, spawners = await asyncio.gather(_blockers(db), _spawners(db))
                _tell(self._found, found := Troubles(blockers=blockers, silent_spawners=spawners))
                self._found = found
                self._found_at = time.monotonic()
            return self._found


def _tell(before: Troubles, found: Troubles) -> None:
    """Log what was not there the last time."""
    known = {one.pid for one in before.blockers or ()}
    for one in found.blockers or ():
        if one.pid not in known:
            who = {"pid": one.pid, "role": one.role, "application": one.application, "blocked": one.blocked}
            _log.warning("a session holds a lock that others wait for", extra=who)
    for spawner in found.silent_spawners or ():
        if spawner not in (before.silent_spawners or ()):
            _log.warning("a spawner stopped without a word", extra={"spawner": spawner})


async def _blockers(db: Database) -> list[Blocker] | None:
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await health.blockers(db)
    except (DatabaseError, TimeoutError):
        return None


async def _spawners(db: Database) -> list[str] | None:
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await health.silent_spawners(db)
    except (DatabaseError, TimeoutError):
        return None
