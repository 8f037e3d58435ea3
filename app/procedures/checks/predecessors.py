"""Tasks after which another is to start: they must be there, be visible to the caller, and not have failed."""

from __future__ import annotations

from collections.abc import Sequence

from app.access.context import Context
from app.core.reasons import refusal
from app.procedures.checks.ids import no_such_task, parse_task
from app.procedures.checks.ownership import only_creator
from app.rpc.errors import ProcedureError
from db import dependencies
from db.model import NewTask, Status


def parse_after(ids: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of tasks, each once. Raises NOT_FOUND."""
    return tuple(sorted({parse_task(text) for text in ids}))


async def check_predecessors(context: Context, task: NewTask) -> None:
    """Raise NOT_FOUND for an unknown or hidden task, CONFLICT for one that did not succeed, unless any end will do."""
    if not task.predecessors:
        return
    account = only_creator(context)
    hidden = await dependencies.of_others(context.db, task.predecessors, account) if account is not None else []
    if hidden:
        raise no_such_task(f"task-{hidden[0]}")
    for task_id, status in await dependencies.unusable(context.db, task.predecessors):
        if status is None:
            raise no_such_task(f"task-{task_id}")
        if not task.any_end:
            raise _has_failed(task_id, status, "or add --after-any-end (afterAnyEnd) to start after any end")


async def check_retry(context: Context, task_id: int) -> None:
    """Raise CONFLICT for a task that was cancelled because another did not succeed, while that is still so."""
    for before, status in await dependencies.failed(context.db, task_id):
        if status is None:
            text = f"task-{before}, after which task-{task_id} was to start, did not succeed and has been removed"
            raise refusal("predecessor_failed", text, hint="run it as a new task")
        if status in ("failed", "cancelled"):
            raise _has_failed(before, status, f"or run task-{task_id} as a new task without --after")


def _has_failed(task_id: int, status: Status, otherwise: str) -> ProcedureError:
    how = "has failed" if status == "failed" else "was cancelled"
    step = f"run task-{task_id} again first: ado retry task-{task_id}; {otherwise}"
    text = f"task-{task_id} {how}, so a task that starts after its success would never start"
    return refusal("predecessor_failed", text, hint=step)
