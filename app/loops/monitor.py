"""The monitor ends attempts and tasks that nobody else can end. It runs on every replica.

States: a running job whose lease has run out belongs to a dead worker. One whose worker has stopped is requeued without
counting a loss. A running job past its timeout must stop. A job that was not claimed in time fails. An open
question ends when its time is over or its attempt has ended. A job that is paused for questions is queued once they
have ended. An unhealthy agent is well again once its probe uses a tool. An open task whose jobs have all ended lacks
its terminal event, because a replica died before writing it. A task that waits for one that has ended is started or
cancelled.
Authority and clock: the database. A tick first records its time. If the last tick was longer ago than ``suspect``, the
control plane was away or the clock was set; then every lease is extended by that gap before any lease is checked.
Failures: every statement is fenced by the attempt and may be repeated. So two monitors, or one killed between two
statements, change nothing twice. A part that fails is logged, and the other parts go on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence

from app.metrics import instruments
from app.settings import AppSettings
from db import agents, dependencies, jobs, questions, tasks, workers
from db.database import Database
from db.errors import DatabaseUnavailable
from db.jobs import EndedAttempt
from db.model import AttemptKey

_log = logging.getLogger("ado.monitor")
_CHAIN = 100  # so many tasks that wait for one another are cancelled in a step, within about a second


async def step(db: Database, settings: AppSettings) -> None:
    """Check leases, timeouts and unsettled tasks once."""
    gap = await workers.monitor_tick(
        db,
        heartbeat=settings.heartbeat_seconds,
        suspect=settings.suspect_seconds,
        lease=settings.lease_seconds,
        losses=settings.losses,
        attempts=settings.attempts,
        agent_breaker=settings.agent_breaker,
    )
    if abs(gap) > settings.suspect_seconds:
        _log.warning("leases moved", extra={"gap_seconds": round(gap, 3)})
    await _run_part("leases", expire_leases(db, settings.suspect_seconds))
    await _run_part("abandoned jobs", _end_abandoned(db))
    await _run_part("timeouts", _time_out(db))
    await _run_part("jobs not started in time", _fail_unstarted(db))
    await _run_part("questions", questions.close(db))
    await _run_part("answered jobs", questions.resume_answered(db))
    await _run_part("agents", agents.close_working(db))
    for task_id in await tasks.unsettled(db):
        await _run_part(f"settling task-{task_id}", tasks.after_failure(db, task_id))
    await _run_part("tasks that wait for others", dependencies.start_waiting(db, rounds=_CHAIN))


async def _run_part(name: str, work: Awaitable[object]) -> bool:
    """Run one part of a step; return whether it succeeded. Raises DatabaseUnavailable, which stops every part."""
    try:
        await work
    except DatabaseUnavailable:
        raise
    except Exception:  # noqa: BLE001 - an error in one task or job must not stop the monitor for the others
        _log.exception("part of a step failed", extra={"step": "monitor", "part": name})
        return False
    return True


async def expire_leases(db: Database, suspect_seconds: float) -> None:
    """Requeue the jobs of dead workers, or end them for good."""
    if overdue := await jobs.overdue(db, suspect_seconds):
        await _end(db, overdue, "lost", loss=True)


async def _end_abandoned(db: Database) -> None:
    if abandoned := await jobs.abandoned(db):
        await _end(db, abandoned, "shutdown", loss=False)


async def _end(db: Database, attempts: Sequence[AttemptKey], reason: str, *, loss: bool) -> None:
    """End attempts in one statement, or one by one if that fails."""
    is_done = await _run_part(f"{len(attempts)} attempts", _end_together(db, attempts, reason, loss=loss))
    if is_done or len(attempts) == 1:
        return
    for attempt in attempts:
        await _run_part(f"attempt {attempt}", _end_together(db, [attempt], reason, loss=loss))


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
