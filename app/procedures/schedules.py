"""The procedures ``schedules.*``: templates that run at times.

Authority: everybody who may run tasks adds schedules, and sees, pauses, resumes and removes own ones; operators and
administrators all. A schedule runs as the one who added it, with the rights of that moment: ``app.loops.scheduler``
checks them at each time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from app.access.auth import RUN_TASKS
from app.access.context import Context
from app.client import administration
from app.core.reasons import refusal
from app.loops.cron import EXPRESSION_CHARS, CronRefused, next_after
from app.procedures.checks.arguments import check_json_limit, refuse_nul
from app.procedures.checks.ids import PublicId
from app.procedures.checks.ownership import only_own
from app.procedures.checks.paging import Page, PageInput, fit, next_cursor
from app.procedures.templates import find, task_of
from app.rpc.server.procedure import mutation, query
from app.shapes.records import RecordShape, Wire
from db import schedules
from db.model import Status
from db.schedules import Missed, NewSchedule, Overlap, ScheduleRow

SCHEDULES = 100
"""The most schedules of one user or service."""
VARIABLES_BYTES = 4096
"""Of the values of one schedule's variables together."""
_TRIES = 5
_ID = PublicId("schedule", "schedule")


class ScheduleAddInput(Wire):
    """When to run which template: a cron expression in a time zone."""

    cron: Annotated[str, Meta(max_length=EXPRESSION_CHARS)]
    template: Annotated[str, Meta(max_length=200)]
    timezone: Annotated[str, Meta(max_length=100)] = "UTC"
    variables: dict[str, str] = {}
    missed: Missed = "once"
    """What becomes of times when no replica could run them: one run for all of them, or none."""
    overlap: Overlap = "skip"
    """What becomes of a time while the task of the last one has not ended: it is skipped, runs, or cancels it."""


class ScheduleInput(Wire):
    """A schedule by its id."""

    schedule_id: str


class Schedule(administration.Schedule, RecordShape, frozen=True, kw_only=True):
    """A schedule and how it went. ``problem`` says why a time did not run, until a later one has."""

    missed: Missed
    overlap: Overlap
    state: Literal["active", "paused"]
    created_at: datetime
    created_by: str
    last_status: Status | None = None

    @classmethod
    def of(cls, row: ScheduleRow) -> Schedule:
        """Make the shape of a record."""
        members: dict[str, Any] = {
            "schedule_id": f"schedule-{row.schedule_id}",
            "state": "paused" if row.paused_at else "active",
            "created_by": row.owner_name,
            "next_at": None if row.paused_at else row.next_at,
            "last_task_id": row.last_task_id and f"task-{row.last_task_id}",
        }
        return cls.from_record(row, **members)


class Schedules(Page[Schedule]):
    """A page of schedules, oldest first."""


class ScheduleRemoved(administration.ScheduleRemoved, RecordShape, frozen=True, kw_only=True):
    """The schedule runs no more; its tasks stay."""


@mutation(access=RUN_TASKS)
async def add(context: Context, input: ScheduleAddInput) -> Schedule:
    """Add a schedule."""
    refuse_nul(variables=input.variables)
    check_json_limit("variables", input.variables, VARIABLES_BYTES)
    template = await find(context, input.template)
    services = context.services
    actor = context.actor("schedules.add")
    task_of(services.settings, services.cipher, template.task, input.variables, None, actor)
    next_at = _next(input.cron, input.timezone, template.now)
    new = NewSchedule(
        template.template_id,
        input.cron,
        input.timezone,
        input.variables,
        input.missed,
        input.overlap,
        context.caller.account or "",
        template.now,
        next_at,
    )
    number = await schedules.add(context.db, new, most=SCHEDULES, actor=actor)
    if number is None:
        await find(context, input.template)  # raises if it was removed meanwhile
        text = f"you have {SCHEDULES} schedules, which is the limit"
        raise refusal("limit_exceeded", text, hint="remove one first: ado schedule remove SCHEDULE", limit=SCHEDULES)
    return Schedule.of(await _stored(context, number))


def _next(cron: str, timezone: str, after: datetime) -> datetime:
    try:
        return next_after(cron, timezone, after)
    except CronRefused as error:
        raise refusal("invalid_input", f"{error.field}: {error}", field=error.field, hint=error.next_step) from None


@query(access=RUN_TASKS)
async def listing(context: Context, input: PageInput) -> Schedules:
    """Return the caller's schedules; for operators and administrators, everybody's."""
    after = _ID.parse_cursor(input.cursor)
    rows = await schedules.listing(context.db, only_own(context), after, input.limit + 1)
    items = fit([Schedule.of(row) for row in rows[: input.limit]], context.services.settings.body_bytes // 2)
    more = len(items) < len(rows)
    return Schedules(items=items, next_cursor=next_cursor(more, items[-1].schedule_id if items else ""))


@mutation(access=RUN_TASKS)
async def pause(context: Context, input: ScheduleInput) -> Schedule:
    """Pause a schedule: its times pass, and count as neither missed nor skipped. Repeating the call changes nothing."""
    number = _ID.parse(input.schedule_id)
    if not await schedules.pause(context.db, number, only_own(context), context.actor("schedules.pause")):
        raise _ID.unknown(input.schedule_id)
    return Schedule.of(await _stored(context, number))


@mutation(access=RUN_TASKS)
async def resume(context: Context, input: ScheduleInput) -> Schedule:
    """Resume a schedule from its next time on. One that waits after a failure is tried again at once."""
    number = _ID.parse(input.schedule_id)
    for _ in range(_TRIES):
        schedule = await _stored(context, number)
        # No time runs again if the database's clock was set back.
        after = max(schedule.now, schedule.last_at or schedule.now)
        next_at = _next(schedule.cron, schedule.timezone, after)
        actor = context.actor("schedules.resume")
        if await schedules.resume(context.db, schedule, after_at=after, next_at=next_at, actor=actor):
            break
    return Schedule.of(await _stored(context, number))


@mutation(access=RUN_TASKS)
async def remove(context: Context, input: ScheduleInput) -> ScheduleRemoved:
    """Remove a schedule; its tasks stay."""
    number = _ID.parse(input.schedule_id)
    if not await schedules.remove(context.db, number, only_own(context), context.actor("schedules.remove")):
        raise _ID.unknown(input.schedule_id)
    return ScheduleRemoved(schedule_id=f"schedule-{number}")


async def _stored(context: Context, number: int) -> ScheduleRow:
    """Return a schedule that the caller may see. Raises NOT_FOUND."""
    schedule = await schedules.find(context.db, number, only_own(context))
    if schedule is None:
        raise _ID.unknown(f"schedule-{number}")
    return schedule
