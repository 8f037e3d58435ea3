"""The procedure ``tasks.pick``: which of several results of a task a person has picked.

The choice changes nothing else, and applying the result is the client's part. The last choice stands, and the log has
each with its event ``picked``, also after the task's end.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from app.access.auth import RUN_TASKS
from app.access.context import Context
from app.core.reasons import refusal
from app.procedures.checks.ids import parse_task
from app.procedures.checks.ownership import check_may_change
from app.procedures.tasks import get_task
from app.rpc.errors import ProcedureError
from app.rpc.server.procedure import mutation
from app.shapes.records import Task, Wire
from db import events, tasks
from db.model import TERMINAL


class PickInput(Wire):
    """A job that has ended and has a result."""

    task_id: str
    job: Annotated[int, Meta(ge=0, le=2**31 - 1)]


@mutation(access=RUN_TASKS)
async def pick(context: Context, input: PickInput) -> Task:
    """Record which job's result is picked. Repeating the call changes nothing."""
    task_id = parse_task(input.task_id)
    await check_may_change(context, task_id)
    picked = await tasks.pick(context.db, task_id, input.job, context.actor("tasks.pick"))
    task = await get_task(context, task_id)
    if not picked and task.picked_job != input.job:
        raise await _why_not(context, task_id, input.job)
    return task


async def _why_not(context: Context, task_id: int, job: int) -> ProcedureError:
    """Return why a job's result cannot be picked."""
    task = await get_task(context, task_id, job)
    name, status = task.jobs[job].job_id, task.jobs[job].status
    state = await events.state(context.db, task_id)
    if state is not None and state.pruned:
        return refusal("log_pruned", f"the log of {task.task_id} has been dropped, so no choice can be recorded")
    if status not in TERMINAL:
        return refusal("nothing_to_pick", f"{name} is {status}, so it has no result yet")
    return refusal("nothing_to_pick", f"{name} has {status} without a result", hint="pick another job: ado compare")
