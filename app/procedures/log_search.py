"""The procedure ``tasks.search``: a text in a task's log, of which a reader has only a part."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from app.access.auth import READ
from app.access.context import Context
from app.core.reasons import refusal
from app.log.search import Hit, TextSearch
from app.procedures.checks.ids import no_such_task, parse_task
from app.procedures.checks.ownership import check_may_see
from app.rpc.server.procedure import query
from app.shapes.records import Wire
from db import events

_WINDOW_EVENTS = 5000
_WINDOW_BYTES = 2 * 1024 * 1024
_CALL_BYTES = 64 * 1024 * 1024
_CALL_SECONDS = 1.0
_BEFORE_EVENTS = 50
"""Events before a window whose output may hold the beginning of the text."""
_BEFORE_BYTES = 256 * 1024
_Seq = Annotated[int, Meta(ge=0, le=2**62)]


class LogSearchInput(Wire):
    """A text, and where to begin: ``before`` an event and backwards (absent: at the end), or ``after`` one."""

    task_id: str
    text: Annotated[str, Meta(min_length=1, max_length=200)]
    job: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    before: _Seq | None = None
    after: _Seq | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class LogHit(Wire, omit_defaults=False):
    """An event in which the text ends, and the line around it."""

    seq: int
    job: int | None
    attempt: int | None
    type: str
    at: datetime
    line: str
    stream: str | UnsetType = UNSET


class LogHits(Wire, omit_defaults=False):
    """The hits, in the order of the search, and where to go on: absent once the whole log was searched that way.

    A call searches for about a second, so ``items`` may be empty while there is more.
    """

    items: list[LogHit]
    next_before: int | UnsetType = UNSET
    next_after: int | UnsetType = UNSET


@query(access=READ)
async def search(context: Context, input: LogSearchInput) -> LogHits:
    """Search the output and the words of a task's log."""
    task_id = parse_task(input.task_id)
    await check_may_see(context, task_id)
    state = await events.state(context.db, task_id)
    if state is None:
        raise no_such_task(input.task_id)
    if state.pruned:
        raise refusal("log_pruned", f"the log of task-{task_id} has been dropped")
    if input.before is not None and input.after is not None:
        raise refusal("invalid_input", "after: give before or after, not both", field="after")
    return await _search(context, task_id, input)


async def _search(context: Context, task_id: int, input: LogSearchInput) -> LogHits:
    """Search window by window, until there are enough hits, or the time is over."""
    backwards = input.after is None
    cursor = input.after if input.after is not None else 2**62 if input.before is None else input.before
    hits_so_far: list[Hit] = []
    began, size, searched_to = time.monotonic(), 0, None
    while True:  # one window at least, so that every call gets on
        window = await events.window(
            context.db,
            task_id,
            cursor,
            backwards=backwards,
            job=input.job,
            row_limit=_WINDOW_EVENTS,
            byte_limit=_WINDOW_BYTES,
        )
        searched_to = window.first if backwards else window.last
        if searched_to is None or window.first is None:
            break
        cursor = searched_to
        hits = await _hits(context, task_id, input, window, window.first)
        hits_so_far += reversed(hits) if backwards else hits
        size += sum(len(event.data or event.body or "") for event in window.events)
        if len(hits_so_far) >= input.limit or size >= _CALL_BYTES or time.monotonic() - began > _CALL_SECONDS:
            break
    if len(hits_so_far) > input.limit:
        hits_so_far = hits_so_far[: input.limit]
        searched_to = hits_so_far[-1].event.seq
    items = [_shape(hit) for hit in hits_so_far]
    if searched_to is None:
        return LogHits(items=items)
    return LogHits(items=items, next_before=searched_to) if backwards else LogHits(items=items, next_after=searched_to)


async def _hits(context: Context, task_id: int, input: LogSearchInput, window: events.Window, first: int) -> list[Hit]:
    """Return the hits of a window, with those that begin before it."""
    search = TextSearch(input.text)
    earlier = await events.window(
        context.db,
        task_id,
        first,
        backwards=True,
        job=input.job,
        row_limit=_BEFORE_EVENTS,
        byte_limit=_BEFORE_BYTES,
    )
    for _ in search.hits([event for event in earlier.events if event.type == "output"]):
        pass  # they belong to the window before
    return list(search.hits(window.events))


def _shape(hit: Hit) -> LogHit:
    return LogHit.from_record(hit.event, line=hit.line)
