"""The janitor: makes room ahead and forgets what is over. Runs on every replica; each step repeats harmlessly."""

from __future__ import annotations

import logging

from app.settings import AppSettings
from db import events, files, tasks, tokens, workers
from db.database import Database

_log = logging.getLogger("ado.janitor")
_DAY_SECONDS = 86_400
_RANGES_AHEAD = 400  # whoever creates tasks faster makes a range itself


async def step(db: Database, settings: AppSettings) -> None:
    """Make partitions ahead of the newest task; forget workers, tokens, files and values that nobody needs."""
    made = await events.extend(db, _RANGES_AHEAD)
    forgotten = await workers.prune(db, settings.keep_workers_seconds)
    await workers.prune_pods(db, settings.keep_workers_seconds)
    await tokens.prune(db)
    dropped = await files.prune(db, settings.keep_files_seconds)
    environments = await tasks.forget_environments(db, settings.env_days * _DAY_SECONDS)
    if made or forgotten or dropped or environments:
        counts = {"partitions_made": made, "workers_forgotten": forgotten, "files_dropped": dropped}
        counts["environments_forgotten"] = environments
        _log.info("janitor", extra=counts)
