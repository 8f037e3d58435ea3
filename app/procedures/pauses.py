"""The procedures ``tasks.pause`` and ``tasks.resume``.

A queued job is paused at once. The worker of a running one learns of it by ``workers.commands`` or from its next
heartbeat, stops the agent, saves a checkpoint and hands the job back. A paused job has no worker, no lease and no limit
of time: ``timeoutSeconds`` counts for each attempt, and ``startWithinSeconds`` begins again when the task is resumed.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from app.access.auth import RUN_TASKS
from app.access.context import Context
from app.core.reasons import refusal
from app.procedures import messages
from app.procedures.checks.arguments import refuse_nul
from app.procedures.checks.ids import parse_task
from app.procedures.checks.ownership import check_may_change
from app.procedures.tasks import get_task
from app.rpc.server.procedure import mutation
from app.shapes.records import Task, Wire
from db import tasks
from db.model import TERMINAL


class PauseInput(Wire):
    """A task to pause, and why."""

    task_id: str
    reason: Annotated[str, Meta(max_length=1000)] | None = None


class ResumeInput(Wire):
    """A task to resume, with words for its agents; the same key sends the words once."""

    task_id: str
    text: str | None = None
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


@mutation(access=RUN_TASKS)
async def pause(context: Context, input: PauseInput) -> Task:
    """Pause the jobs of a task that have not ended. Repeating the call changes nothing."""
    task_id = parse_task(input.task_id)
    refuse_nul(reason=input.reason)
    await check_may_change(context, task_id)
    await tasks.pause(context.db, task_id, input.reason, context.actor("tasks.pause"))
    return await get_task(context, task_id)


@mutation(access=RUN_TASKS)
async def resume(context: Context, input: ResumeInput) -> Task:
    """Queue the paused jobs of a task again. Repeating the call changes nothing.

    The words are stored first: an agent that starts without them could not be given them with its prompt.
    """
    task_id = parse_task(input.task_id)
    await check_may_change(context, task_id)
    if input.text is not None:
        task = await get_task(context, task_id)
        if task.status in TERMINAL:
            step = f"ado send {task.task_id} continues it"
            raise refusal("takes_no_messages", f"{task.task_id} has ended: {task.status}", hint=step)
        message = messages.MessageSendInput(
            task_id=input.task_id, text=input.text, idempotency_key=input.idempotency_key
        )
        await messages.store(context, task_id, message, context.actor("tasks.send"), open_only=True)
    await tasks.resume(context.db, task_id, context.actor("tasks.resume"))
    return await get_task(context, task_id)
