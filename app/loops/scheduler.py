"""Runs the schedules whose time has come; every replica has one.

States: a schedule has a next time. The statement that creates the task of a time also moves ``next_at``, and does so
only from the time that was read. So each time has one task, however many replicas try, and a replica that dies leaves
nothing to repair.
Clock: the database's. A replica's own clock only decides how long it sleeps, at most a poll interval.
Late times: one that is late by less than ``LATE_SECONDS`` runs. Others were missed, and the schedule's rule decides.
Failures: what keeps a task from being created is stored with the schedule, and the same time is tried again.
Rules of time zones: they come with a replica's start, which therefore plans every next time anew.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from app.loops.cron import CronRefused, missed_times, next_after
from app.metrics import instruments
from app.rpc.errors import ProcedureError
from db import schedules, tasks, users
from db.actor import Actor
from db.database import Database
from db.errors import DatabaseUnavailable
from db.group_commit import GroupCommit
from db.model import TERMINAL, NewTask, ScheduledTime, TaskRow
from db.schedules import DueSchedule

_log = logging.getLogger("ado.schedules")
LATE_SECONDS = 60.0
"""Longer than replicas take to start again, or a failover of the database."""
_COUNTED = 1000
_AT_ONCE = 20  # their templates may be a megabyte each
_MAY_RUN = ("developer", "operator", "admin")
LABEL = "schedule"
"""The label of a schedule's tasks; its value is the schedule's id."""

Prepare = Callable[[dict[str, Any], dict[str, str], str, Actor], NewTask]
"""Makes the task of a template, the values of its variables and an idempotency key. Raises ProcedureError."""


class Scheduler:
    """Creates the tasks of due schedules."""

    def __init__(
        self, db: Database, creations: GroupCommit[NewTask, TaskRow | None], prepare: Prepare, *, poll_seconds: float
    ) -> None:
        self._db = db
        self._creations = creations
        self._prepare = prepare
        self._poll_seconds = poll_seconds
        self._is_planned = False

    async def watch(self) -> None:
        """Run what is due, then wait until something may be."""
        while await self.step():
            pass
        seconds = await schedules.seconds_to_next(self._db)
        wait = self._poll_seconds if seconds is None else min(self._poll_seconds, max(seconds, 0.0))
        await asyncio.sleep(wait)

    async def step(self) -> bool:
        """Run each due schedule once; return whether one of them moved on."""
        if not self._is_planned:
            await self.plan()
            self._is_planned = True
        due = await schedules.due(self._db, _AT_ONCE)
        return any(await asyncio.gather(*(self._run_safely(schedule) for schedule in due)))

    async def plan(self) -> None:
        """Plan each next time anew, because the rules of its time zone may have changed."""
        for plan in await schedules.plans(self._db):
            try:
                next_at = next_after(plan.cron, plan.timezone, plan.after_at)
            except CronRefused:
                continue  # it is said when its time comes
            if next_at != plan.next_at and await schedules.replan(self._db, plan, next_at):
                times = {"schedule": f"schedule-{plan.schedule_id}", "next_at": next_at.isoformat()}
                _log.info("the rules of a time zone have changed", extra=times)

    async def _run_safely(self, schedule: DueSchedule) -> bool:
        """Run a schedule; return whether it moved on. An error of one does not stop the others."""
        try:
            return await self._run(schedule)
        except DatabaseUnavailable:
            raise
        except ProcedureError as error:
            problem = f"{error.message}; {error.hint}" if error.hint else error.message
        except CronRefused as error:
            problem = f"{error}; {error.next_step}"
        except Exception:  # noqa: BLE001 - an error of one schedule must not stop the others
            _log.exception("a schedule failed", extra={"schedule": f"schedule-{schedule.schedule_id}"})
            problem = "an unexpected error; the log of the replica has the details"
        await schedules.failed(self._db, schedule, problem)
        return False

    async def _run(self, schedule: DueSchedule) -> bool:
        time, problem = self._time(schedule)
        if problem is not None:
            return self._count(time, passed=await self._pass_over(schedule, time, problem, missed=time.missed_times))
        if (text := _obstacle(schedule)) is not None:
            return await self._pass_over(schedule, time, text, skipped=1)
        return self._count(time, passed=await self._create(schedule, time))

    async def _pass_over(self, schedule: DueSchedule, time: ScheduledTime, problem: str, **counts: int) -> bool:
        """Go on after a time that does not run; return False if another replica has done so."""
        return await schedules.pass_over(
            self._db, schedule, after_at=time.scheduled_at, next_at=time.next_at, problem=problem, **counts
        )

    def _count(self, time: ScheduledTime, *, passed: bool) -> bool:
        if passed and time.missed_times:
            instruments.SCHEDULE_TIMES_MISSED.inc(time.missed_times)
        return passed

    def _time(self, schedule: DueSchedule) -> tuple[ScheduledTime, str | None]:
        """Return the time that is to run, or with a problem the time after which the schedule goes on."""
        due, oldest = schedule.next_at, schedule.now - timedelta(seconds=LATE_SECONDS)
        if due >= oldest:
            following = next_after(schedule.cron, schedule.timezone, due)
            return ScheduledTime(schedule.schedule_id, due, due, following), None
        missed, last, following = missed_times(schedule.cron, schedule.timezone, due, oldest, _COUNTED)
        if following <= schedule.now:
            after = next_after(schedule.cron, schedule.timezone, following)
            return ScheduledTime(schedule.schedule_id, due, following, after, missed), None
        if schedule.missed == "once":
            return ScheduledTime(schedule.schedule_id, due, last, following, missed - 1), None
        times = "1 time was" if missed == 1 else f"{missed} times were"
        return ScheduledTime(schedule.schedule_id, due, last, following, missed), f"{times} missed"

    async def _create(self, schedule: DueSchedule, time: ScheduledTime) -> bool:
        """Create the task of a time, unless somebody else has. Raises ProcedureError."""
        _check_owner(schedule)
        actor = _actor(schedule)
        key = f"schedule-{schedule.schedule_id}@{time.scheduled_at.isoformat()}"
        task = dataclasses.replace(self._prepare(schedule.task, schedule.variables, key, actor), schedule=time)
        task = dataclasses.replace(task, labels={**task.labels, LABEL: f"schedule-{schedule.schedule_id}"})
        if schedule.overlap == "queue" and _is_open(schedule):
            task = dataclasses.replace(task, predecessors=(schedule.last_task_id or 0,), any_end=True)
        if schedule.overlap == "cancel" and _is_open(schedule):
            reason = f"the next time of schedule-{schedule.schedule_id} has come"
            await tasks.cancel(self._db, schedule.last_task_id or 0, reason, actor)
        if await self._creations.submit(task, ("schedule", schedule.schedule_id), size=len(task.prompt)):
            return True
        await self._explain(schedule, time, task)
        return False

    async def _explain(self, schedule: DueSchedule, time: ScheduledTime, task: NewTask) -> None:
        """Store why a task was not created, if the reason is not that another replica has created it."""
        user_id = _user_id(schedule)
        limit = await users.queue_limit(self._db, user_id) if user_id is not None else None
        if limit is not None and limit.queued + task.workers > limit.limit:
            text = f"{limit.name} has {limit.queued} jobs queued; {task.workers} more would be above the limit"
            await schedules.failed(self._db, schedule, f"{text} of {limit.limit} (ado users set)")
            return
        existing = await tasks.find_by_key(self._db, task.idempotency_key or "")
        if existing is not None:  # as after a restored backup, or a clock of the database that was set back
            text = f"task-{existing.task_id} had run this time already"
            await self._pass_over(schedule, time, text)


def _is_open(schedule: DueSchedule) -> bool:
    return schedule.last_status is not None and schedule.last_status not in TERMINAL


def _obstacle(schedule: DueSchedule) -> str | None:
    """Return why a time is skipped, if it is. Only one task waits in a queue, or slow tasks would fill it for ever."""
    if schedule.overlap == "skip" and _is_open(schedule):
        return f"skipped: task-{schedule.last_task_id} had not ended"
    if schedule.overlap == "queue" and schedule.last_status == "queued":
        return f"skipped: task-{schedule.last_task_id} had not begun"
    return None


def _user_id(schedule: DueSchedule) -> int | None:
    kind, _, number = schedule.created_by.partition("-")
    return int(number) if kind == "user" else None


def _actor(schedule: DueSchedule) -> Actor:
    """Return the owner: the task is created as if the owner had called."""
    is_user = _user_id(schedule) is not None
    return Actor(
        "schedules.run",
        schedule.created_by if is_user else None,
        None if is_user else schedule.created_by,
        name=schedule.owner_name,
        account=schedule.created_by,
    )


def _check_owner(schedule: DueSchedule) -> None:
    """Raise FORBIDDEN if the owner may run no tasks, or must not run this template."""
    if schedule.owner_role is None:
        text = f"{schedule.owner_name}, for whom it runs, is disabled, or the token has ended"
        raise ProcedureError("FORBIDDEN", text, hint="enable the user, or add the schedule again as somebody else")
    if schedule.owner_role not in _MAY_RUN:
        text = f"{schedule.owner_name}, for whom it runs, is a {schedule.owner_role} now and may run no tasks"
        raise ProcedureError("FORBIDDEN", text, hint="add the schedule again as somebody else")
    if not schedule.is_template_trusted:
        text = f"@{schedule.template} was saved by somebody whom {schedule.owner_name} need not trust"
        hint = "save it again as the schedule's owner: only operators and administrators decide what others run"
        raise ProcedureError("FORBIDDEN", text, hint=hint)
