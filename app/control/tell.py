"""Wakes the command streams of workers that have something to be told, in case the hint was lost.

One statement a poll interval for all the workers of a replica; each woken stream reads for itself what is open.
"""

from __future__ import annotations

from app.log.hub import Hub
from db import workers
from db.database import Database


async def step(db: Database, hub: Hub) -> None:
    """Look once; nothing is asked while no worker listens here."""
    if hub.anybody_for("w"):
        for worker_id in await workers.to_tell(db):
            hub.wake(("w", worker_id))
