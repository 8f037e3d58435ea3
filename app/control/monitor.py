"""The monitor: ends what nobody else will. Runs on every replica; all of them together do each thing once.

States: a running job whose lease ran out belongs to a dead worker; one whose worker has said that it ended goes back
without a loss; a running job past its timeout must stop; an open task whose jobs have all ended lacks its terminal
event because a replica died in between.
Authority and clock: the database. A tick first records itself; if nobody had ticked for longer than ``suspect``, the
control plane was away or the clock was set, and every lease is moved by that gap before any is judged.
Failures: every statement is fenced by the attempt and repeats harmlessly, so two monitors, or one killed between two
statements, change nothing twice.
"""

from __future__ import annotations

import logging
from itertools import groupby

from app import metrics
from app.settings import AppSettings
from db import jobs, tasks, workers
from db.database import Database
from db.jobs import Ended

_log = logging.getLogger("ado.monitor")


async def step(db: Database, settings: AppSettings) -> None:
    """Watch once over leases, timeouts and unsettled tasks."""
    gap = await workers.monitor_tick(
        db,
        heartbeat=settings.heartbeat_seconds,
        suspect=settings.suspect_seconds,
        lease=settings.lease_seconds,
        losses=settings.losses,
    )
    if abs(gap) > settings.suspect_seconds:
        _log.warning("leases moved", extra={"gap_seconds": round(gap, 3)})
    await expire_leases(db, settings.suspect_seconds)
    if abandoned := await jobs.abandoned(db):
        await settle_ended(db, await jobs.end_attempts(db, abandoned, reason="shutdown", loss=False), "shutdown")
    for worker_id in await jobs.time_out(db):
        _log.info("attempt timed out", extra={"worker": worker_id})
    for task_id in await tasks.unsettled(db):
        await tasks.after_failure(db, task_id)


async def expire_leases(db: Database, suspect_seconds: float) -> None:
    """Queue the jobs of dead workers again, or end them for good."""
    overdue = await jobs.overdue(db, suspect_seconds)
    if overdue:
        ended = await jobs.end_attempts(db, overdue, reason="lost", loss=True, overdue_only=True)
        metrics.LEASES_EXPIRED.inc(len(ended))
        await settle_ended(db, ended, "lost")


async def settle_ended(db: Database, ended: list[Ended], reason: str) -> None:
    """Log ended attempts and settle the tasks whose jobs ended for good."""
    for attempt in ended:
        _log.warning(
            "attempt ended",
            extra={
                "task": f"task-{attempt.task_id}",
                "job": attempt.job,
                "attempt": attempt.attempt,
                "worker": attempt.worker_id,
                "reason": reason,
                "status": attempt.status,
            },
        )
    final = sorted(attempt.task_id for attempt in ended if attempt.status != "queued")
    for task_id, _ in groupby(final):
        await tasks.after_failure(db, task_id)
