"""The janitor: makes room ahead and forgets what is over. Runs on every replica; each step repeats harmlessly."""

from __future__ import annotations

import logging

from app.settings import AppSettings
from db import events, tokens, workers
from db.database import Database

_log = logging.getLogger("ado.janitor")
_RANGES_AHEAD = 400  # whoever creates tasks faster makes a range itself


async def step(db: Database, settings: AppSettings) -> None:
    """Make partitions ahead of the newest task; forget workers and tokens that ended long ago."""
    made = await events.extend(db, _RANGES_AHEAD)
    forgotten = await workers.prune(db, settings.keep_workers_seconds)
    await workers.prune_pods(db, settings.keep_workers_seconds)
    await tokens.prune(db)
    if made or forgotten:
        _log.info("janitor", extra={"partitions_made": made, "workers_forgotten": forgotten})
