"""The procedures of messages: ``tasks.send``, ``tasks.messages``, ``workers.messages`` and ``workers.delivered``.

A message reaches the agent of a job in every state of the job, and its log has it once, with one receipt for each job.
A queued job's agent gets it with its prompt, a running one's as soon as it can take words, and a job that has ended
continues with it. The worker learns of it by ``workers.commands``, or when it begins an attempt; it says by
``workers.delivered`` that the agent has taken it. A worker that dies in between delivers the message again, by the same
id, and the receipt is stored once.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from app.access.auth import READ, REPORT, RUN_TASKS
from app.access.context import Context
from app.client import models
from app.core.reasons import refusal
from app.procedures.checks.arguments import check_limit
from app.procedures.checks.fences import AttemptInput, fence_error, may_write
from app.procedures.checks.ids import PublicId, no_such_job, parse_task
from app.procedures.checks.ownership import check_may_change, check_may_see, check_queue
from app.procedures.checks.paging import Cursor, Limit, Page, page_limit
from app.procedures.tasks import get_task
from app.rpc.errors import ProcedureError
from app.rpc.server.procedure import mutation, query
from app.shapes.records import RecordShape, Task, Wire, or_unset
from db import events, jobs, messages, questions, tasks, users
from db.actor import Actor

TASK_MESSAGES = 1000
"""The most messages of a task."""
WAITING_MESSAGES = 100
"""The most messages of one sender that wait in a task."""
_PAGE_BYTES = 1024 * 1024
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ID = PublicId("message", "message")
_MESSAGE = re.compile(r"message-([1-9]\d{0,17})", re.ASCII)
_QUESTION = re.compile(r"question-([1-9]\d{0,17})", re.ASCII)


Ids = Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=TASK_MESSAGES)]


class MessageSendInput(Wire):
    """Words for the agent of ``job``, or of every job that is not cancelled; the same key sends them once."""

    task_id: str
    text: str
    job: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class MessageListInput(Wire):
    """A task, and where the previous page of its messages ended."""

    task_id: str
    limit: Limit = 100
    cursor: Cursor | None = None


class MessageJob(models.MessageJob, RecordShape, frozen=True, kw_only=True):
    """A job that a message is for, and the attempt whose agent took it."""

    state: Literal["waiting", "delivered", "refused"]


class Message(models.Message, RecordShape, frozen=True, kw_only=True):
    """Words to the agents of a task's jobs.

    ``job`` is null if they were sent to every job. The state is ``delivered`` once every job's agent has them that
    was not cancelled, and ``refused`` if all of the jobs were. ``delivered_at`` is when the last of the agents took
    them.
    """

    state: Literal["waiting", "delivered", "refused"]
    jobs: list[MessageJob]  # type: ignore[assignment]
    job: int | None
    by: str | None

    @classmethod
    def of(cls, message: messages.MessageRow) -> Message:
        """Make the shape of a record."""
        states = {recipient.state for recipient in message.recipients}
        state = next(state for state in ("waiting", "delivered", "refused") if state in states)
        times = [recipient.delivered_at for recipient in message.recipients if recipient.delivered_at]
        return cls.from_record(
            message,
            message_id=f"message-{message.message_id}",
            task_id=f"task-{message.task_id}",
            state=state,
            jobs=[MessageJob.from_record(recipient) for recipient in message.recipients],
            delivered_at=max(times) if state == "delivered" else None,
        )


class Messages(Page[Message]):
    """A page of a task's messages, oldest first."""


class JobMessagesInput(AttemptInput, kw_only=True):
    """A running attempt, and after which message the page begins; ``undelivered``: only messages without a receipt."""

    undelivered: bool = False
    after: Annotated[str, Meta(max_length=100)] | None = None


class Words(Wire):
    """A message as the worker gives it to an agent."""

    message_id: str
    text: str


class JobMessages(Wire, omit_defaults=False):
    """A page of a job's messages, oldest first; ``next`` is the last one's id if more follow."""

    items: list[Words]
    next: str | UnsetType = UNSET


class DeliveredInput(AttemptInput, kw_only=True):
    """The messages that the agent of a running attempt has taken, and the questions whose end its worker knows."""

    message_ids: Ids = []
    question_ids: Ids = []


class Delivered(Wire, omit_defaults=False):
    """The messages whose receipts are stored, and the questions that ``workers.commands`` no longer repeats."""

    message_ids: list[str]
    question_ids: list[str]


@mutation(access=RUN_TASKS)
async def send(context: Context, input: MessageSendInput) -> Message:
    """Send words to the agents of a task. A job that has ended continues with them, if its session was kept."""
    task_id = parse_task(input.task_id)
    await check_may_change(context, task_id)
    message_id = await store(context, task_id, input, context.actor("tasks.send"))
    message = await messages.get(context.db, task_id, message_id)
    if message is None:  # the task was removed meanwhile
        raise no_such_job(f"task-{task_id}/{input.job or 0}")
    return Message.of(message)


async def store(
    context: Context, task_id: int, input: MessageSendInput, actor: Actor | None, *, open_only: bool = False
) -> int:
    """Store a message and return its number; with ``open_only`` no job that has ended continues with it."""
    _check_text(context, input.text)
    message_id = await messages.send(
        context.db,
        task_id,
        input.job,
        input.text,
        idempotency_key=input.idempotency_key,
        task_limit=TASK_MESSAGES,
        waiting_limit=WAITING_MESSAGES,
        open_only=open_only,
        actor=actor,
    )
    return await _sent_before(context, task_id, input) if message_id is None else message_id


def _check_text(context: Context, text: str) -> None:
    if not text.strip():
        raise refusal("invalid_input", "text: it is empty", hint="write what the agent is to know", field="text")
    check_limit("text", len(text.encode()), context.services.settings.prompt_bytes)
    if control := _CONTROL.search(text):
        what = f"text: it has the control character U+{ord(control[0]):04X} at position {control.start()}"
        raise refusal("invalid_input", what, hint="send text: of control characters only tab, CR and LF", field="text")


async def _sent_before(context: Context, task_id: int, input: MessageSendInput) -> int:
    """Return the message that was sent under the same key, or raise why nothing was stored."""
    existing = None
    if input.idempotency_key is not None:
        existing = await messages.find_by_key(context.db, task_id, input.idempotency_key)
    if existing is None:
        raise await _why_refused(context, task_id, input.job)
    if (existing.text, existing.job) != (input.text, input.job) or existing.sender != context.caller.account:
        raise refusal("idempotency_conflict", "this idempotencyKey was used for another message to this task")
    return existing.message_id


async def _why_refused(context: Context, task_id: int, job: int | None) -> ProcedureError:
    """Return why a message could not be stored."""
    task = await get_task(context, task_id, job)
    if all(item.agent == "shell" for item in task.jobs if job in (None, item.job)):
        text = f"{task.task_id} runs a shell command, which takes no messages"
        step = "only AI agents take messages: leave the text out, or give a command input with ado run -i"
        return refusal("takes_no_messages", text, hint=step)
    counts = await messages.counts(context.db, task_id, context.caller.account)
    if counts.messages >= TASK_MESSAGES or counts.waiting >= WAITING_MESSAGES:
        reached = f"{task.task_id} has {counts.messages} messages, and {counts.waiting} of yours wait"
        text = f"{reached}; the limits are {TASK_MESSAGES} and {WAITING_MESSAGES}"
        step = "wait until the agent has taken some, or run a new task"
        return refusal("limit_exceeded", text, hint=step, field="taskId", limit=WAITING_MESSAGES)
    chosen = [item for item in task.jobs if job in (None, item.job)]
    ended = [item for item in chosen if item.status in ("succeeded", "failed")]
    if not ended:
        name = chosen[0].job_id if job is not None else task.task_id
        text = f"{name} is {chosen[0].status if chosen[0].status == 'cancelled' else 'being stopped'}"
        return refusal("takes_no_messages", f"{text}, so no agent can take a message", hint="ado retry queues it again")
    return await _why_ended(context, task_id, task, job, len(ended))


async def _why_ended(context: Context, task_id: int, task: Task, job: int | None, ended: int) -> ProcedureError:
    """Return why jobs that have ended cannot continue with a message."""
    state = await events.state(context.db, task_id)
    if state is not None and state.pruned:
        return refusal("log_pruned", f"the log of {task.task_id} has been dropped, so the task cannot continue")
    check_queue(await users.queue_limit_of_task(context.db, task_id), ended)
    if await tasks.environment_forgotten(context.db, task_id):
        text = f"{task.task_id} has ended, and its --env values have been deleted, so it cannot continue"
        return refusal("environment_forgotten", text)
    if (unkept := await messages.unkept_session(context.db, task_id, job)) is not None:
        text = f"{task.task_id}/{unkept} has ended, and no session of its agent is kept from which it could continue"
        step = "run a new task; sessions are kept of AI agents that work in a repository (ado run --remote in one)"
        return refusal("session_not_kept", text, hint=step)
    if task.stdin:
        return refusal("input_lost", f"{task.task_id} has ended, and its input went with its attempts")
    return refusal("nothing_to_retry", f"{task.task_id} is changing: other jobs of it are being stopped")


@query(access=READ)
async def listing(context: Context, input: MessageListInput) -> Messages:
    """The messages of a task, oldest first, and what has become of each."""
    task_id = parse_task(input.task_id)
    await check_may_see(context, task_id)
    room = page_limit(context, input.limit)
    after = _ID.parse_cursor(input.cursor)
    rows, following = await messages.page(context.db, task_id, after=after, row_limit=room.rows, byte_limit=room.bytes)
    if not rows:
        await get_task(context, task_id)  # an unknown task is an error
    return Messages(
        items=[Message.of(message) for message in rows],
        next_cursor=or_unset(following and f"message-{following}"),
    )


@mutation(access=REPORT)
async def of_job(context: Context, input: JobMessagesInput) -> JobMessages:
    """The messages of a job for the attempt that runs it."""
    receipt = input.held(context)
    job = await jobs.get(context.db, receipt.task_id, receipt.job)
    if not may_write(job, receipt):
        raise fence_error(job, receipt)
    after = _ID.parse_cursor(input.after)
    rows = await messages.of_job(
        context.db, receipt.task_id, receipt.job, after=after, undelivered=input.undelivered, byte_limit=_PAGE_BYTES
    )
    items = [Words(message_id=f"message-{number}", text=text) for number, text in rows]
    return JobMessages(items=items, next=items[-1].message_id if items else UNSET)


@mutation(access=REPORT)
async def delivered(context: Context, input: DeliveredInput) -> Delivered:
    """Store that an attempt's agent has taken messages, and its worker answers. A repeated call changes nothing."""
    receipt = input.held(context)
    numbers = [int(match[1]) for name in input.message_ids if (match := _MESSAGE.fullmatch(name))]
    stored = await messages.deliver(context.db, receipt, numbers)
    if stored and (answered := [int(match[1]) for name in input.question_ids if (match := _QUESTION.fullmatch(name))]):
        stored = await questions.acknowledge(context.db, receipt, answered)
    if not stored:
        raise fence_error(await jobs.get(context.db, receipt.task_id, receipt.job), receipt)
    return Delivered(message_ids=input.message_ids, question_ids=input.question_ids)
