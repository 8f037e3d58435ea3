"""The procedures ``workers.*`` for people; the workers' own are in ``protocol`` and ``append``."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from app.access.auth import OPERATE, READ
from app.access.context import Context
from app.core.reasons import refusal
from app.procedures.checks import paging
from app.procedures.checks.arguments import SCALE_BYTES, check_json_limit, refuse_nul
from app.procedures.checks.ownership import hide_jobs
from app.procedures.checks.paging import PAGE_ITEMS, Cursor, Limit
from app.rpc.server.procedure import mutation, query
from app.shapes.records import Spawner, Wire, Worker, WorkerState
from db import jobs, workers


class ListInput(Wire):
    """Which workers to list."""

    state: WorkerState | None = None
    limit: Limit = PAGE_ITEMS
    cursor: Cursor | None = None


class StatusInput(Wire):
    """Which page of the workers to show."""

    limit: Limit = PAGE_ITEMS
    cursor: Cursor | None = None


class WorkerInput(Wire):
    """A worker by its id."""

    worker_id: str


class ScaleInput(Wire):
    """How many workers are kept even when the queue is empty."""

    count: Annotated[int, Meta(ge=0, le=10_000)]
    capabilities: Annotated[list[str], Meta(max_length=20)] = []


class WorkerList(Wire, omit_defaults=False):
    """A page of workers by id."""

    items: list[Worker]
    next_cursor: str | UnsetType = UNSET


class Waiting(Wire, omit_defaults=False):
    """Jobs that could start now, by the capabilities that they need."""

    needs: list[str]
    jobs: int


class Queue(Wire, omit_defaults=False):
    """How many jobs are queued and running, and what those that could start now need."""

    queued: int
    running: int
    waiting: list[Waiting]


class Status(Wire, omit_defaults=False):
    """A page of the workers that have not ended, how many there are in which state, and what waits."""

    workers: list[Worker]
    counts: dict[str, int]
    queue: Queue
    spawners: list[Spawner]
    next_cursor: str | UnsetType = UNSET


class Scale(Wire, omit_defaults=False):
    """How many workers of these capabilities are kept."""

    count: int
    capabilities: list[str]


@query(access=READ)
async def listing(context: Context, input: ListInput) -> WorkerList:
    """Return the workers, those that ended lately included."""
    refuse_nul(cursor=input.cursor)
    found, more = await workers.page(context.db, input.state, input.cursor, paging.page_limit(context, input.limit))
    return WorkerList(
        items=await hide_jobs(context, [Worker.of(worker) for worker in found]),
        next_cursor=paging.next_cursor(more, found[-1].worker_id if found else ""),
    )


@query(access=READ)
async def status(context: Context, input: StatusInput) -> Status:
    """Return what ``ado workers status`` shows."""
    refuse_nul(cursor=input.cursor)
    room = paging.page_limit(context, input.limit)
    found, more = await workers.page(context.db, after=input.cursor, room=room, with_stopped=False)
    queued, running = await jobs.counts(context.db)
    waiting = [Waiting(needs=sorted(demand.needs), jobs=demand.jobs) for demand in await jobs.ready_demands(context.db)]
    return Status(
        workers=await hide_jobs(context, [Worker.of(worker) for worker in found]),
        counts=await workers.counts(context.db),
        queue=Queue(queued=queued, running=running, waiting=waiting),
        spawners=[Spawner.from_record(spawner) for spawner in await workers.spawners(context.db)],
        next_cursor=paging.next_cursor(more, found[-1].worker_id if found else ""),
    )


async def get_worker(context: Context, worker_id: str) -> Worker:
    """Return one worker. Raises NOT_FOUND."""
    for worker in await workers.listing(context.db):
        if worker.worker_id == worker_id:
            return Worker.of(worker)
    raise refusal("no_such_worker", f"there is no worker {worker_id[:100]!r}")


@mutation(access=OPERATE)
async def drain(context: Context, input: WorkerInput) -> Worker:
    """Let a worker finish what it has and end."""
    await workers.drain(context.db, input.worker_id, context.actor("workers.drain"))
    return await get_worker(context, input.worker_id)


@mutation(access=OPERATE)
async def scale(context: Context, input: ScaleInput) -> Scale:
    """Keep so many workers even when the queue is empty."""
    check_json_limit("capabilities", input.capabilities, SCALE_BYTES)
    count = await workers.scale(context.db, input.capabilities, input.count, context.actor("workers.scale"))
    return Scale(count=count, capabilities=input.capabilities)
