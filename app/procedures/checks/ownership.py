"""Whose task it is. A developer changes only own tasks and, where tasks are private, sees no others.

Every procedure that takes a task's id, or shows several tasks, asks here. Other roles pass without a query. A task
without a creator belongs to nobody.
"""

from __future__ import annotations

from msgspec.structs import replace

from app.access.context import Context
from app.core.reasons import refusal
from app.procedures.checks.ids import no_such_task
from app.rpc.errors import ProcedureError
from app.shapes.records import Worker
from db import users


def only_creator(context: Context) -> str | None:
    """Return the public id of the only user or service whose tasks the caller may see; None: all tasks."""
    private = context.services.settings.private_tasks and context.caller.role == "developer"
    return context.caller.account if private else None


def only_own(context: Context) -> str | None:
    """Return the account whose templates, schedules and targets alone the caller may change; None: everybody's."""
    return context.caller.account if context.caller.role == "developer" else None


async def check_may_see(context: Context, task_id: int) -> None:
    """Raise NOT_FOUND for a task that is hidden from the caller."""
    account = only_creator(context)
    if account is not None and await users.owner(context.db, task_id) != account:
        raise no_such_task(f"task-{task_id}")


async def check_may_change(context: Context, task_id: int) -> None:
    """Raise FORBIDDEN for a task that the caller may not change, NOT_FOUND for a hidden or unknown one."""
    if context.caller.role != "developer":
        return
    if await users.owner(context.db, task_id) == context.caller.account:
        return
    raise await _not_own(context, task_id)


async def _not_own(context: Context, task_id: int) -> ProcedureError:
    hidden = only_creator(context) is not None or not await users.exists(context.db, task_id)
    if hidden:
        return no_such_task(f"task-{task_id}")
    text = f"task-{task_id} belongs to somebody else: a developer changes only own tasks"
    return refusal("forbidden", text, hint="ask its owner, or use a token of role operator or admin")


def check_queue(limit: users.QueueLimit | None, more: int) -> None:
    """Raise BAD_REQUEST when ``more`` jobs would take a user above the limit of queued jobs."""
    if limit is not None and limit.queued + more > limit.limit:
        text = f"{limit.name} has {limit.queued} jobs queued; {more} more would be above the limit"
        step = f"wait until fewer are queued; an administrator raises the limit: ado users set {limit.name} --queued N"
        raise refusal("limit_exceeded", f"{text} of {limit.limit} (ado users set)", hint=step, limit=limit.limit)


async def hide_jobs(context: Context, workers: list[Worker]) -> list[Worker]:
    """Remove from each worker the jobs of tasks that are hidden from the caller."""
    account = only_creator(context)
    if account is None:
        return workers
    tasks = {_task_of(job.job_id) for worker in workers for job in worker.jobs}
    owned = await users.owned(context.db, tasks, account)
    return [replace(worker, jobs=[job for job in worker.jobs if _task_of(job.job_id) in owned]) for worker in workers]


def _task_of(job_id: str) -> int:
    return int(job_id.removeprefix("task-").partition("/")[0])
