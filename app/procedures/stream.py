"""The subscriptions ``stream.*``: a task's log after a cursor, and the changes of the system."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

import orjson
from msgspec import UNSET, Meta
from msgspec.structs import replace

from app.access.auth import READ
from app.access.context import Context
from app.core.reasons import refusal
from app.log.tail import Selection
from app.log.task_watch import LATE_IDS, Seen, TaskWatch
from app.procedures.checks.arguments import Since, since_time
from app.procedures.checks.ids import no_such_task, parse_task
from app.procedures.checks.ownership import check_may_see, hide_jobs, only_creator
from app.rpc.server.procedure import Tracked, subscription
from app.shapes.log_events import (
    AnyEvent,
    OutputEvent,
    Snapshot,
    SystemEvent,
    TaskChange,
    TaskState,
    WorkerChange,
    WorkerRemoved,
)
from app.shapes.records import Wire, Worker
from db import events, tasks, workers
from db.errors import LogRewound

K = TypeVar("K")
V = TypeVar("V")
_SYSTEM_SECONDS = 0.25  # changes that are closer together are sent together
_STOPPED_SECONDS = 60.0  # a day leaves thousands of stopped workers; so long each is there, and then removed
_OPEN_TASKS = 200


class TailInput(Wire):
    """The task whose log to read, and where to begin.

    ``lastEventId`` is the seq of the last event that the reader has; it wins over the other two. One beyond the log's
    end is refused with reason ``cursor_ahead`` and ``data.lastSeq``. ``tail`` begins with the last N events. ``since``
    begins at an ISO 8601 time (without a zone: UTC), or a number of seconds ago. With both, at most the last N events
    since that time are sent.
    """

    task_id: str
    last_event_id: str | int | None = None
    follow: bool = True
    job: Annotated[int, Meta(ge=0)] | None = None
    tail: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    stream: Literal["stdout", "stderr"] | None = None
    """Only this stream of the output."""
    since: Since = None


@subscription(access=READ)
async def task_events(context: Context, input: TailInput) -> AsyncIterator[Tracked[AnyEvent]]:
    """Every event of a task, tracked by seq; ends after the terminal event that is the log's last."""
    async for item in _read(context, input, Selection(job=input.job, stream=input.stream)):
        yield item


@subscription(access=READ)
async def task_output(context: Context, input: TailInput) -> AsyncIterator[Tracked[OutputEvent]]:
    """The output events of a task."""
    async for item in _read(context, input, Selection(other=False, job=input.job, stream=input.stream)):
        yield item


@subscription(access=READ)
async def task_progress(context: Context, input: TailInput) -> AsyncIterator[Tracked[AnyEvent]]:
    """Every event of a task except its output."""
    async for item in _read(context, input, Selection(output=False, job=input.job)):
        yield item


async def _read(context: Context, input: TailInput, selection: Selection) -> AsyncIterator[Tracked[Any]]:
    task_id = parse_task(input.task_id)
    when_available = context.services.tail.when_available
    await when_available(lambda: check_may_see(context, task_id))
    state = await when_available(lambda: events.state(context.db, task_id))
    if state is None:
        raise no_such_task(input.task_id)
    if state.pruned:
        raise refusal("log_pruned", f"the log of task-{task_id} has been dropped")
    cursor = await when_available(lambda: _cursor(context, task_id, input, selection, state.last_seq))
    if cursor > state.last_seq:  # a reader that waited there would miss the events up to it
        raise LogRewound(task_id, cursor, state.last_seq)
    async for entry in context.services.tail.read(task_id, cursor, state, follow=input.follow, selection=selection):
        yield Tracked(str(entry.seq), orjson.Fragment(entry.text))


async def _cursor(context: Context, task_id: int, input: TailInput, selection: Selection, last_seq: int) -> int:
    """Return the cursor where reading begins."""
    if input.last_event_id is not None:
        text = str(input.last_event_id)
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise refusal("invalid_input", "lastEventId: it must be the seq of an event", field="lastEventId")
        return int(text)
    cursor = 0
    if since := since_time(input.since):
        cursor = await events.cursor_of_time(context.db, task_id, since)
    if input.tail is not None:
        if selection == Selection():
            tail_cursor = max(0, last_seq - input.tail)
        else:
            tail_cursor = await events.cursor_of_tail(context.db, task_id, input.tail, selection.wanted)
        cursor = max(cursor, tail_cursor)
    return cursor


@subscription(access=READ)
async def system_events(context: Context) -> AsyncIterator[SystemEvent]:
    """A snapshot of workers and open tasks, then each change. There is no cursor: a new start is a new snapshot."""
    with context.services.hub.waiting("s") as hint:
        seen_workers = await _workers(context)
        first = await _watched_tasks(context, None, [])
        watch = TaskWatch(first)
        yield Snapshot(list(seen_workers.values()), [_state(task) for task in first if task.open])
        while True:
            await hint.wait(context.services.settings.poll_seconds)
            for task in watch.changes(await _watched_tasks(context, watch.newest, watch.known)):
                yield TaskChange(_state(task))
            now_workers = await _workers(context)
            for worker in _changed(seen_workers, now_workers):
                yield WorkerChange(worker)
            for worker_id in seen_workers.keys() - now_workers.keys():
                yield WorkerRemoved(worker_id)
            seen_workers = now_workers
            await asyncio.sleep(_SYSTEM_SECONDS)


def _changed(before: Mapping[K, V], after: Mapping[K, V]) -> list[V]:
    return [shape for key, shape in after.items() if before.get(key) != shape]


async def _watched_tasks(context: Context, newest: int | None, known: list[int]) -> list[Seen]:
    rows = await tasks.watched(
        context.db,
        newest=newest,
        known=known,
        late_ids=LATE_IDS,
        limit=_OPEN_TASKS,
        creator=only_creator(context),
    )
    return [Seen(*row) for row in rows]


def _state(task: Seen) -> TaskState:
    return TaskState(f"task-{task.task_id}", task.status, UNSET if task.open else task.last_seq)


async def _workers(context: Context) -> dict[str, Worker]:
    """Return the workers by id, without the members that change at every heartbeat."""
    rows = await workers.listing(context.db, stopped_within=_STOPPED_SECONDS)
    shapes = await hide_jobs(context, [Worker.of(worker) for worker in rows])
    return {shape.worker_id: replace(shape, last_heartbeat_at=None) for shape in shapes}
