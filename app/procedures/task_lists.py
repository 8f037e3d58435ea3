"""The procedure ``tasks.list``: the tasks that match a filter, newest first, page by page."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta
from msgspec.structs import replace

from app.access.auth import READ
from app.access.context import Context
from app.procedures.checks.arguments import LABELS_BYTES, Since, check_json_limit, refuse_nul, since_time
from app.procedures.checks.ids import TASK
from app.procedures.checks.ownership import only_creator
from app.procedures.checks.paging import Page, fit
from app.rpc.server.procedure import query
from app.shapes.records import Task, Wire
from db import tasks, users
from db.model import Status
from db.tasks import STATUSES, TaskFilter

_START_CHARS = 200
_Label = Annotated[str, Meta(max_length=1000)]


class TaskListInput(Wire):
    """Which tasks to list: those that match every member.

    ``status`` is one or several, and so are ``agents``. ``labelNames`` match labels of any value. ``search`` is a text
    in the prompt, or in a label as ``name=value``, in any case. ``since`` and ``until`` are times, or numbers of
    seconds ago: older tasks, or those of that time and newer, are left out. ``mine`` selects the caller's tasks,
    ``createdBy`` those of a user or service by name or id.
    """

    status: Status | Annotated[list[Status], Meta(max_length=20)] | None = None
    labels: dict[str, str] = {}
    label_names: Annotated[list[_Label], Meta(max_length=100)] = []
    since: Since = None
    until: Since = None
    agents: Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(max_length=100)] = []
    search: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    cursor: str | None = None
    mine: bool = False
    created_by: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class TaskPage(Page[Task]):
    """A page of tasks; ``nextCursor`` is absent on the last one. A page of a search may be empty and not the last."""


@query(access=READ)
async def listing(context: Context, input: TaskListInput) -> TaskPage:
    """Return tasks, newest first, without results and with only the beginning of a long prompt."""
    before = TASK.parse_cursor(input.cursor or None) or None
    refuse_nul(labels=input.labels, labelNames=input.label_names, search=input.search, createdBy=input.created_by)
    refuse_nul(agents=input.agents)
    check_json_limit("labels", input.labels, LABELS_BYTES)
    page, after = await tasks.page(
        context.db,
        await _filter(context, input),
        limit=input.limit,
        bytes_=context.services.settings.body_bytes,
        before=before,
    )
    items = fit([_listed(Task.of(task)) for task in page], context.services.settings.body_bytes)
    if len(items) < len(page):
        return TaskPage(items=items, next_cursor=items[-1].task_id)
    return TaskPage(items=items, next_cursor=UNSET if after is None else f"task-{after}")


def _listed(task: Task) -> Task:
    """Add the line of the prompt that stands for it in a list."""
    start = next((line.strip() for line in task.prompt.splitlines() if line.strip()), "")
    return replace(task, prompt_start=start[:_START_CHARS])


async def _filter(context: Context, input: TaskListInput) -> TaskFilter:
    return TaskFilter(
        statuses=_statuses(input.status),
        labels=input.labels,
        label_names=input.label_names,
        since=since_time(input.since),
        until=since_time(input.until, "until"),
        agents=input.agents or None,
        creators=await _creators(context, input),
        search=input.search,
    )


def _statuses(wanted: Status | list[Status] | None) -> list[Status]:
    if not wanted:
        return list(STATUSES)
    return [wanted] if isinstance(wanted, str) else list(dict.fromkeys(wanted))


async def _creators(context: Context, input: TaskListInput) -> list[str] | None:
    """Return the public ids of the creators whose tasks to list; None: all."""
    wanted = None if input.created_by is None else set(await users.accounts(context.db, input.created_by))
    for account in (context.caller.account if input.mine else None, only_creator(context)):
        if account is not None:
            wanted = {account} if wanted is None else wanted & {account}
    return None if wanted is None else sorted(wanted)
