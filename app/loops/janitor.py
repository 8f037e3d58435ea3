"""The janitor adds partitions ahead and deletes what has expired.

It runs on every replica; repeating a step does no harm.
"""

from __future__ import annotations

import logging

from app.metrics.installation import AGENTS, REASONS
from app.settings import AppSettings
from db import agents, audit, counters, events, files, inputs, notifications, samples, sessions, tasks, tokens, workers
from db.database import Database

_log = logging.getLogger("ado.janitor")
_DAY_SECONDS = 86_400
_RANGES_AHEAD = 400  # if tasks are created faster, their creation adds a range itself


async def step(db: Database, settings: AppSettings) -> None:
    """Add partitions ahead of the newest task, and delete what has expired."""
    await counters.add_notes(db, AGENTS, REASONS)
    made = await events.extend(db, _RANGES_AHEAD)
    await events.rename_live_channel(db)
    forgotten = await workers.prune(db, settings.keep_workers_seconds)
    await workers.prune_pods(db, settings.keep_workers_seconds)
    await tokens.prune(db)
    await sessions.prune_codes(db)
    await samples.take(db)
    await samples.prune(db)
    dropped = await files.prune(db, settings.keep_files_seconds, settings.session_days * _DAY_SECONDS)
    unread = await inputs.forget(db)
    environments = await tasks.forget_environments(db, settings.env_days * _DAY_SECONDS)
    await notifications.prune(db)
    await agents.prune(db)
    entries = await audit.prune(db, settings.audit_days)
    if made or forgotten or dropped or unread or environments or entries:
        counts = {"partitions_made": made, "workers_forgotten": forgotten, "files_dropped": dropped}
        counts |= {"inputs_dropped": unread, "environments_forgotten": environments, "audit_entries_removed": entries}
        _log.info("janitor", extra=counts)
