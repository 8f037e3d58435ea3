"""``/healthz``: the process answers. ``/readyz``: database, schema and listener are there as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from litestar import Response, get

from db.database import Database
from db.errors import DatabaseError
from db.listener import Listener
from db.migrate import known


@dataclass(slots=True)
class Readiness:
    """What makes a replica ready; filled in by its start."""

    db: Database | None = None
    listener: Listener | None = None
    draining: bool = False

    async def problems(self) -> dict[str, str]:
        """Return what is missing, by part; empty when the replica is ready."""
        found = {}
        if self.draining:
            found["process"] = "is draining"
        if self.listener is None or not self.listener.connected:
            found["listener"] = "is not connected; readers poll"
        try:
            version = int((await self.db.one("schema_version"))["version"]) if self.db else 0
            if version != known():
                found["schema"] = f"is at {version}, not {known()}"
        except DatabaseError as error:
            found["database"] = str(error)
        return found


@get("/healthz", sync_to_thread=False)
def healthz() -> dict[str, Any]:
    """Say that the process answers."""
    return {"status": "ok"}


def readyz_of(readiness: Readiness) -> Any:
    """Return the route that says whether the replica is ready."""

    @get("/readyz")
    async def readyz() -> Response[dict[str, Any]]:
        problems = await readiness.problems()
        status = "ready" if not problems else "not ready"
        return Response({"status": status, "problems": problems}, status_code=503 if problems else 200)

    return readyz
