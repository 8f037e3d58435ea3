"""Typed functions over ``sql/queries/schedules.sql``: templates that run at times.

The task of a time is created by ``tasks.create_all`` with a ``ScheduledTime``, which also moves the schedule on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import asyncpg
import orjson

from db.actor import Actor, parameter
from db.database import Database
from db.model import Status, parameters_of, record_of

Missed = Literal["once", "skip"]
Overlap = Literal["skip", "allow", "queue", "cancel"]


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A template to run at times; ``next_at`` is the first time after ``after_at``."""

    template_id: int
    cron: str
    timezone: str
    variables: Mapping[str, str]
    missed: Missed
    overlap: Overlap
    created_by: str
    after_at: datetime
    next_at: datetime


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A stored schedule and how it went."""

    schedule_id: int
    template: str
    cron: str
    timezone: str
    variables: dict[str, str]
    missed: Missed
    overlap: Overlap
    created_by: str
    owner_name: str
    created_at: datetime
    paused_at: datetime | None
    after_at: datetime
    next_at: datetime
    retry_at: datetime | None
    problem: str | None
    last_at: datetime | None
    last_task_id: int | None
    last_status: Status | None
    runs: int
    skipped_times: int
    missed_times: int
    now: datetime
    """The time of the database when it was read."""

    @classmethod
    def of(cls, row: Any) -> ScheduleRow:
        """Make the record of a row."""
        return record_of(cls, row, variables=orjson.loads(row["variables_text"]))


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule whose time has come, with what decides about it."""

    schedule_id: int
    cron: str
    timezone: str
    variables: dict[str, str]
    missed: Missed
    overlap: Overlap
    created_by: str
    owner_name: str
    owner_role: str | None
    """None: the owner's user is disabled, or the owner's token has ended."""
    next_at: datetime
    failures: int
    last_task_id: int | None
    last_status: Status | None
    template: str
    task: dict[str, Any]
    is_template_trusted: bool
    """Whether the template's owner may decide what this schedule runs."""
    now: datetime

    @classmethod
    def of(cls, row: Any) -> DueSchedule:
        """Make the record of a row."""
        return record_of(cls, row, variables=orjson.loads(row["variables"]), task=orjson.loads(row["task"]))


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    """What the next time of a schedule follows from."""

    schedule_id: int
    cron: str
    timezone: str
    after_at: datetime
    next_at: datetime


async def add(db: Database, new: NewSchedule, *, most: int, actor: Actor | None) -> int | None:
    """Store a schedule; None: its owner has ``most``, or the template is gone."""
    try:
        variables = orjson.dumps(dict(new.variables)).decode()
        values = parameters_of(new, variables=variables, most=most, actor=parameter(actor))
        row = await db.optional("add_schedule", **values)
    except asyncpg.ForeignKeyViolationError:  # it was removed a moment ago
        return None
    return row["schedule_id"] if row else None


async def listing(db: Database, creator: str | None, after: int, most: int) -> list[ScheduleRow]:
    """Return the schedules of a creator, or everybody's, from the one after ``after`` on."""
    rows = await db.many("list_schedules", creator=creator, schedule_id=None, after=after, most=most)
    return [ScheduleRow.of(row) for row in rows]


async def find(db: Database, schedule_id: int, creator: str | None) -> ScheduleRow | None:
    """Return a schedule; None: there is none, or it is another creator's."""
    row = await db.optional("list_schedules", creator=creator, schedule_id=schedule_id, after=0, most=1)
    return ScheduleRow.of(row) if row else None


async def pause(db: Database, schedule_id: int, creator: str | None, actor: Actor | None) -> bool:
    """Pause a schedule; False: there is none, or it is another creator's."""
    values = {"schedule_id": schedule_id, "creator": creator, "actor": parameter(actor)}
    return await db.optional("pause_schedule", **values) is not None


async def resume(
    db: Database, schedule: ScheduleRow, *, after_at: datetime, next_at: datetime, actor: Actor | None
) -> bool:
    """Resume a schedule as it was read; False: it has changed since."""
    row = await db.optional(
        "resume_schedule",
        schedule_id=schedule.schedule_id,
        from_at=schedule.next_at,
        after_at=after_at,
        next_at=next_at,
        actor=parameter(actor),
    )
    return row is not None


async def remove(db: Database, schedule_id: int, creator: str | None, actor: Actor | None) -> bool:
    """Remove a schedule; False: there is none, or it is another creator's."""
    values = {"schedule_id": schedule_id, "creator": creator, "actor": parameter(actor)}
    return await db.optional("remove_schedule", **values) is not None


async def due(db: Database, most: int) -> list[DueSchedule]:
    """Return schedules whose time has come, the longest due first."""
    return [DueSchedule.of(row) for row in await db.many("due_schedules", most=most)]


async def seconds_to_next(db: Database) -> float | None:
    """Return the seconds until a schedule is due by the database's clock; None: there is none."""
    seconds: float | None = (await db.one("seconds_to_next_schedule"))["seconds"]
    return seconds


async def pass_over(
    db: Database,
    schedule: DueSchedule,
    *,
    after_at: datetime,
    next_at: datetime,
    problem: str,
    skipped: int = 0,
    missed: int = 0,
) -> bool:
    """Move on without a run; False: the schedule has moved on already."""
    row = await db.optional(
        "pass_schedule",
        schedule_id=schedule.schedule_id,
        due_at=schedule.next_at,
        after_at=after_at,
        next_at=next_at,
        problem=problem,
        skipped=skipped,
        missed=missed,
    )
    return row is not None


async def failed(db: Database, schedule: DueSchedule, problem: str) -> bool:
    """Store why a time could not run, and when it is tried again; False: the schedule has moved on."""
    values = {"schedule_id": schedule.schedule_id, "due_at": schedule.next_at, "problem": problem}
    return await db.optional("schedule_failed", **values) is not None


async def plans(db: Database) -> list[SchedulePlan]:
    """Return what the next times of all schedules follow from."""
    return [SchedulePlan(**row) for row in await db.many("list_plans")]


async def replan(db: Database, plan: SchedulePlan, next_at: datetime) -> bool:
    """Plan the next time anew; False: the schedule has moved on."""
    times = {"planned_at": plan.next_at, "after_at": plan.after_at, "next_at": next_at}
    return await db.optional("replan_schedule", schedule_id=plan.schedule_id, **times) is not None
