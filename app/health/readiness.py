"""``/healthz``: the process answers. ``/readyz``: database, schema and listener work, and the database takes writes.

Both need no token, so they name parts and never addresses, and a report is reused for half a second, or until the
listener that it missed has connected. A replica that receives no notifications says so but stays ready, because readers
poll. A stopped spawner or a held lock is only a warning, because another replica could do no better.
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

from app.health.external_problems import ExternalProblemWatch
from app.log.hub import Hub
from db import health
from db.database import Database
from db.errors import DatabaseError, DatabaseFull, DatabaseReadOnly
from db.listener import Listener
from db.migrate import known

_log = logging.getLogger("ado.api")
_REUSE_SECONDS = 0.5
_NOTIFY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ReadinessReport:
    """The outcome of a check; ``problems`` by part is empty when the replica is ready."""

    problems: dict[str, str]
    hears: bool = False
    database_time: datetime | None = None
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    """The replica's time at the moment of ``database_time``."""
    warnings: dict[str, str] = field(default_factory=dict)
    """By part; they do not make the replica unready."""


@dataclass(slots=True)
class Readiness:
    """Checks whether a replica is ready; the replica's start sets its parts."""

    db: Database | None = None
    listener: Listener | None = None
    hub: Hub | None = None
    draining: bool = False
    external_problems: ExternalProblemWatch = field(default_factory=ExternalProblemWatch)
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _report: ReadinessReport = field(default_factory=lambda: ReadinessReport({}))
    _checked_at: float = float("-inf")

    async def report(self) -> ReadinessReport:
        """Return the report of the last half second, or check again; also once the listener has connected."""
        async with self._checking:
            if not self._is_current():
                report = await self._check()
                if report.problems != self._report.problems:
                    level = logging.WARNING if report.problems else logging.INFO
                    _log.log(level, "not ready" if report.problems else "ready", extra={"problems": report.problems})
                self._report = report
                self._checked_at = time.monotonic()
            return self._report

    def _is_current(self) -> bool:
        if self.draining or time.monotonic() - self._checked_at > _REUSE_SECONDS:
            return False
        # a replica that starts is ready once its listener has connected, not half a second later
        was_away = "listener" in self._report.problems
        return not (was_away and self.listener is not None and self.listener.connected)

    async def _check(self) -> ReadinessReport:
        problems = {"process": "is draining"} if self.draining else {}
        if self.listener is None or not self.listener.connected:
            problems["listener"] = "is not connected; readers poll"
        if self.db is None or self.hub is None:
            return ReadinessReport({**problems, "process": "is starting"})
        report = await self._check_database(self.db, self.hub, problems)
        if "database" in report.problems:
            return report
        return replace(report, warnings=(await self.external_problems.report(self.db)).warnings())

    async def _check_database(self, db: Database, hub: Hub, problems: dict[str, str]) -> ReadinessReport:
        try:
            await health.check_writes(db)
            schema = await health.schema(db)
            if not schema.serves(known()):
                problems["schema"] = f"is at {schema.version}, not {known()}"
            name = secrets.token_hex(8)
            with hub.waiting(("h", name)) as hint:
                database_time, time_here = await health.probe(db, f"h:{name}"), datetime.now(UTC)
                hears = await hint.wait(_NOTIFY_SECONDS)
        except (DatabaseReadOnly, DatabaseFull) as error:
            return ReadinessReport({**problems, "database": str(error).removeprefix("the database ")})
        except DatabaseError:
            return ReadinessReport({**problems, "database": "does not answer"})
        return ReadinessReport(problems, hears, database_time, time_here)


@get("/healthz", sync_to_thread=False)
def healthz() -> dict[str, Any]:
    """Return that the process answers, and its time."""
    return {"status": "ok", "time": datetime.now(UTC)}


def readyz_route(readiness: Readiness) -> Any:
    """Return the route that reports whether the replica is ready."""

    @get("/readyz")
    async def readyz() -> Response[dict[str, Any]]:
        report = await readiness.report()
        shape = {
            "status": "not ready" if report.problems else "ready",
            "problems": report.problems,
            "warnings": report.warnings,
            "hearsNotifications": report.hears,
            "time": report.time,
            "databaseTime": report.database_time,
        }
        return Response(shape, status_code=503 if report.problems else 200)

    return readyz
