"""``/healthz``: the process answers. ``/readyz``: database, schema and listener are there, and writes are taken.

Both are open to everybody, so they name parts and never addresses, and a readiness is worth half a second. That no
notification arrives is told and is no reason to be unready: readers poll. Neither is a stopped spawner or a lock that
somebody holds: they are warnings, because another replica could do no better.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from litestar import Response, get

from app.health.troubles import TroubleWatch
from app.log.hub import Hub
from db import health
from db.database import Database
from db.errors import DatabaseError, DatabaseFull, DatabaseReadOnly
from db.listener import Listener
from db.migrate import known

_log = logging.getLogger("ado.api")
_WORTH_SECONDS = 0.5
_HEAR_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found; ``problems`` by part is empty when the replica is ready."""

    problems: dict[str, str]
    hears: bool = False
    database_time: datetime | None = None
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    """The replica's, at the moment of the database's."""
    warnings: dict[str, str] = field(default_factory=dict)
    """By part, what is wrong and makes no replica unready."""


@dataclass(slots=True)
class Readiness:
    """What makes a replica ready; filled in by its start."""

    db: Database | None = None
    listener: Listener | None = None
    hub: Hub | None = None
    draining: bool = False
    troubles: TroubleWatch = field(default_factory=TroubleWatch)
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _found: Report = field(default_factory=lambda: Report({}))
    _found_at: float = -1e9

    async def report(self) -> Report:
        """Return what was found less than half a second ago, or look again."""
        async with self._checking:
            if time.monotonic() - self._found_at > _WORTH_SECONDS or self.draining:
                found = await self._check()
                if found.problems != self._found.problems:
                    level = logging.WARNING if found.problems else logging.INFO
                    _log.log(level, "not ready" if found.problems else "ready", extra={"problems": found.problems})
                self._found = found
                self._found_at = time.monotonic()
            return self._found

    async def _check(self) -> Report:
        problems = {"process": "is draining"} if self.draining else {}
        if self.listener is None or not self.listener.connected:
            problems["listener"] = "is not connected; readers poll"
        if self.db is None or self.hub is None:
            return Report({**problems, "process": "is starting"})
        found = await self._look(self.db, self.hub, problems)
        if "database" in found.problems:
            return found
        return replace(found, warnings=(await self.troubles.look(self.db)).warnings())

    async def _look(self, db: Database, hub: Hub, problems: dict[str, str]) -> Report:
        try:
            await health.check_writes(db)
            schema = await health.schema(db)
            if not schema.serves(known()):
                problems["schema"] = f"is at {schema.version}, not {known()}"
            name = secrets.token_hex(8)
            with hub.waiting(("h", name)) as heard:
                theirs, ours = await health.probe(db, f"h:{name}"), datetime.now(UTC)
                hears = await heard.wait(_HEAR_SECONDS)
        except (DatabaseReadOnly, DatabaseFull) as error:
            return Report({**problems, "database": str(error).removeprefix("the database ")})
        except DatabaseError:
            return Report({**problems, "database": "does not answer"})
        return Report(problems, hears, theirs, ours)


@get("/healthz", sync_to_thread=False)
def healthz() -> dict[str, Any]:
    """Say that the process answers, and its time."""
    return {"status": "ok", "time": datetime.now(UTC)}


def readyz_of(readiness: Readiness) -> Any:
    """Return the route that says whether the replica is ready."""

    @get("/readyz")
    async def readyz() -> Response[dict[str, Any]]:
        found = await readiness.report()
        shape = {
            "status": "not ready" if found.problems else "ready",
            "problems": found.problems,
            "warnings": found.warnings,
            "hearsNotifications": found.hears,
            "time": found.time,
            "databaseTime": found.database_time,
        }
        return Response(shape, status_code=503 if found.problems else 200)

    return readyz
