"""Whose task it is: a developer acts on own tasks alone and, where tasks are private, sees no others.

Every procedure that takes the id of a task, or shows several tasks, asks here; all other roles pass without a look at
the database. A task without a creator is nobody's own.
"""

from __future__ import annotations

from app.access.context import Context
from app.core.reasons import refusal
from app.procedures.checks.ids import no_such_task
from app.rpc.errors import ProcedureError
from app.shapes.records import Worker
from db import users


def only_creator(context: Context) -> str | None:
    """Return the one user or service whose tasks the caller may see, by public id; None: all of them."""
    private = context.services.settings.private_tasks and context.caller.role == "developer"
    return context.caller.account if private else None


async def check_may_see(context: Context, task_id: int) -> None:
    """Raise NOT_FOUND for a task that is hidden from the caller."""
    account = only_creator(context)
    if account is not None and await users.owner(context.db, task_id) != account:
        raise no_such_task(f"task-{task_id}")


async def check_may_change(context: Context, task_id: int) -> None:
    """Raise FORBIDDEN for a task that is not the caller's to act on, NOT_FOUND for a hidden or unknown one."""
    if context.caller.role != "developer":
        return
    if await users.owner(context.db, task_id) == context.caller.account:
        return
    raise await _not_own(context, task_id)


async def _not_own(context: Context, task_id: int) -> ProcedureError:
    hidden = only_creator(context) is not None or not await users.exists(context.db, task_id)
    if hidden:
        return no_such_task(f"task-{task_id}")
    text = f"task-{task_id} is somebody else's: a developer acts on own tasks alone"
    return refusal("forbidden", text, hint="ask its owner, or use a token of role operator or admin")


def check_queue(limit: users.QueueLimit | None, more: int) -> None:
    """Raise BAD_REQUEST when a user has too many jobs in the queue for so many more."""
    if limit is not None and limit.queued + more > limit.limit:
        text = f"{limit.name} has {limit.queued} jobs waiting; with {more} more they would pass the limit"
        step = f"wait until fewer wait; an administrator raises the limit: ado users set {limit.name} --queued N"
        raise refusal("limit_exceeded", f"{text} of {limit.limit} (ado users set)", hint=step, limit=limit.limit)


async def hide_jobs(context: Context, workers: list[Worker]) -> list[Worker]:
    """Leave out of each worker the jobs of tasks that are hidden from the caller."""
    account = only_creator(context)
    if account is None:
        return workers
    tasks = {_task_of(job.job_id) for worker in workers for job in worker.jobs}
    owned = await users.owned(context.db, tasks, account)
    for worker in workers:
        worker.jobs = [job for job in worker.jobs if _task_of(job.job_id) in owned]
    return workers


def _task_of(job_id: str) -> int:
    return int(job_id.removeprefix("task-").partition("/")[0])
