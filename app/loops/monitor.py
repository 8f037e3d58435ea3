"""The monitor: ends what nobody else will. Runs on every replica; all of them together do each thing once.

States: a running job whose lease ran out belongs to a dead worker; one whose worker has said that it ended goes back
without a loss; a running job past its timeout must stop; a job that nobody claimed in time fails; an open task whose
jobs have all ended lacks its terminal event because a replica died in between.
Authority and clock: the database. A tick first records itself; if nobody had ticked for longer than ``suspect``, the
control plane was away or the clock was set, and every lease is moved by that gap before any is judged.
Failures: every statement is fenced by the attempt and repeats harmlessly, so two monitors, or one killed between two
statements, change nothing twice. A part that fails is logged; the other parts, and other tasks, do not wait for it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence

from app.metrics import instruments
from app.settings import AppSettings
from db import jobs, tasks, workers
from db.database import Database
from db.errors import DatabaseUnavailable
from db.jobs import EndedAttempt
from db.model import AttemptKey

_log = logging.getLogger("ado.monitor")


async def step(db: Database, settings: AppSettings) -> None:
    """Watch once over leases, timeouts and unsettled tasks."""
    gap = await workers.monitor_tick(
        db,
        heartbeat=settings.heartbeat_seconds,
        suspect=settings.suspect_seconds,
        lease=settings.lease_seconds,
        losses=settings.losses,
        attempts=settings.attempts,
    )
    if abs(gap) > settings.suspect_seconds:
        _log.warning("leases moved", extra={"gap_seconds": round(gap, 3)})
    await _part("leases", expire_leases(db, settings.suspect_seconds))
    await _part("abandoned jobs", _end_abandoned(db))
    await _part("timeouts", _time_out(db))
    await _part("jobs not started in time", _fail_unstarted(db))
    for task_id in await tasks.unsettled(db):
        await _part(f"settling task-{task_id}", tasks.after_failure(db, task_id))


async def _part(name: str, work: Awaitable[object]) -> bool:
    """Do one part of a step; False when it failed. Raises DatabaseUnavailable, which concerns every part."""
    try:
        await work
    except DatabaseUnavailable:
        raise
    except Exception:  # noqa: BLE001 - what one task or job makes impossible must not stop the monitor for the others
        _log.exception("part of a step failed", extra={"step": "monitor", "part": name})
        return False
    return True


async def expire_leases(db: Database, suspect_seconds: float) -> None:
    """Queue the jobs of dead workers again, or end them for good."""
    if overdue := await jobs.overdue(db, suspect_seconds):
        await _end(db, overdue, "lost", loss=True)


async def _end_abandoned(db: Database) -> None:
    if abandoned := await jobs.abandoned(db):
        await _end(db, abandoned, "shutdown", loss=False)


async def _end(db: Database, attempts: Sequence[AttemptKey], reason: str, *, loss: bool) -> None:
    """End attempts together, or each by itself where that fails."""
    if await _part(f"{len(attempts)} attempts", _end_together(db, attempts, reason, loss=loss)) or len(attempts) == 1:
        return
    for attempt in attempts:
        await _part(f"attempt {attempt}", _end_together(db, [attempt], reason, loss=loss))


async def _end_together(db: Database, attempts: Sequence[AttemptKey], reason: str, *, loss: bool) -> None:
    ended = await jobs.end_attempts(db, attempts, reason=reason, loss=loss, overdue_only=loss)
    if loss:
        instruments.LEASES_EXPIRED.inc(len(ended))
    await settle_ended(db, ended, reason)


async def _fail_unstarted(db: Database) -> None:
    if ended := await jobs.fail_unstarted(db):
        await settle_ended(db, ended, "not_started")


async def _time_out(db: Database) -> None:
    for worker_id in await jobs.time_out(db):
        _log.info("attempt timed out", extra={"worker": worker_id})


async def settle_ended(db: Database, ended: Sequence[EndedAttempt], reason: str) -> None:
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
    for task_id in sorted({attempt.task_id for attempt in ended if attempt.stops_siblings}):
        await tasks.stop_siblings(db, task_id)
    await tasks.settle_all(db, sorted({attempt.task_id for attempt in ended if attempt.status != "queued"}))
