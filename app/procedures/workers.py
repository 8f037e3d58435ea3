"""The procedures ``workers.*`` for people. Workers use ``worker_protocol``, ``append``, ``job_input``."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from app.access.auth import OPERATE, READ
from app.access.context import Context
from app.client import fleet, models
from app.core.reasons import refusal
from app.procedures.autoscale import Autoscale
from app.procedures.checks import paging
from app.procedures.checks.arguments import SCALE_BYTES, check_json_limit, refuse_nul
from app.procedures.checks.ownership import hide_jobs, only_creator
from app.procedures.checks.paging import Page, PageInput
from app.rpc.server.procedure import mutation, query
from app.shapes.records import RecordShape, Spawner, Wire, Worker, WorkerState
from db import agents, autoscale, jobs, workers

_MOST_COUNTED = 500
"""Waiting jobs that a status counts, so that it costs the same with any queue."""


class WorkerListInput(PageInput):
    """Which workers to list."""

    state: WorkerState | None = None


class WorkerInput(Wire):
    """A worker by its id."""

    worker_id: str


class ScaleInput(Wire):
    """How many workers of these capabilities to keep when the queue is empty."""

    count: Annotated[int, Meta(ge=0, le=10_000)]
    capabilities: Annotated[list[str], Meta(max_length=20)] = []


class WorkerList(Page[Worker]):
    """A page of workers by id."""


class Waiting(models.Waiting, RecordShape, frozen=True, kw_only=True):
    """Jobs that could start now and need the same capabilities."""


class Queue(Wire, omit_defaults=False):
    """How many jobs are queued, running and paused, and the jobs that could start now by their needs.

    More than 10,000 queued or paused jobs are as of the last minutes. Of jobs that could start, five hundred are
    counted: as many of each of fifty needs.
    """

    queued: int
    running: int
    paused: int
    waiting: list[Waiting]


class UnhealthyAgent(fleet.UnhealthyAgent, RecordShape, frozen=True, kw_only=True):
    """An agent whose jobs wait, because its last attempts failed before it did anything; one job at a time tries it.

    ``job_id`` is the job that tries it or tried it last; before the first try, the job that failed last. It is hidden
    where tasks are private.
    """


class WorkersStatus(Wire, omit_defaults=False):
    """A page of the workers that have not stopped, their number by state, the queue, spawners, unhealthy agents."""

    workers: list[Worker]
    counts: dict[str, int]
    queue: Queue
    spawners: list[Spawner]
    autoscale: list[Autoscale]
    unhealthy_agents: list[UnhealthyAgent]
    next_cursor: str | UnsetType = UNSET


class AgentInput(Wire):
    """An agent by its name."""

    agent: Annotated[str, Meta(min_length=1, max_length=200)]


class ForgottenFailures(models.ForgottenFailures, RecordShape, frozen=True, kw_only=True):
    """How many failures of an agent in a row were forgotten; 0: it had none."""


class Scale(Wire, omit_defaults=False):
    """How many workers of these capabilities are kept when the queue is empty."""

    count: int
    capabilities: list[str]


@query(access=READ)
async def listing(context: Context, input: WorkerListInput) -> WorkerList:
    """Return the workers, also those that stopped lately."""
    refuse_nul(cursor=input.cursor)
    page, more = await workers.page(context.db, input.state, input.cursor, paging.page_limit(context, input.limit))
    return WorkerList(
        items=await hide_jobs(context, [Worker.of(worker) for worker in page]),
        next_cursor=paging.next_cursor(more, page[-1].worker_id if page else ""),
    )


@query(access=READ)
async def status(context: Context, input: PageInput) -> WorkersStatus:
    """Return the workers, the queue, the spawners and the ranges within which they keep workers."""
    refuse_nul(cursor=input.cursor)
    limit = paging.page_limit(context, input.limit)
    page, more = await workers.page(context.db, after=input.cursor, room=limit, stopped_within=0)
    queued, running, paused = await jobs.counts(context.db)
    demands = await jobs.ready_demands(context.db, in_all=_MOST_COUNTED)
    waiting = [Waiting(needs=sorted(demand.needs), jobs=demand.jobs) for demand in demands]
    return WorkersStatus(
        workers=await hide_jobs(context, [Worker.of(worker) for worker in page]),
        counts=await workers.counts(context.db),
        queue=Queue(queued=queued, running=running, paused=paused, waiting=waiting),
        spawners=[Spawner.from_record(spawner) for spawner in await workers.spawners(context.db)],
        autoscale=[Autoscale.of(one) for one in await autoscale.ranges(context.db)],
        unhealthy_agents=await _unhealthy_agents(context),
        next_cursor=paging.next_cursor(more, page[-1].worker_id if page else ""),
    )


async def _unhealthy_agents(context: Context) -> list[UnhealthyAgent]:
    hidden = {} if only_creator(context) is None else {"job_id": None}
    return [UnhealthyAgent.from_record(agent, **hidden) for agent in await agents.unhealthy(context.db)]


async def get_worker(context: Context, worker_id: str) -> Worker:
    """Return one worker. Raises NOT_FOUND."""
    if worker := await workers.get(context.db, worker_id):
        return Worker.of(worker)
    raise refusal("no_such_worker", f"there is no worker {worker_id[:100]!r}")


@mutation(access=OPERATE)
async def drain(context: Context, input: WorkerInput) -> Worker:
    """Let a worker finish its running jobs and stop."""
    await workers.drain(context.db, input.worker_id, context.actor("workers.drain"))
    return await get_worker(context, input.worker_id)


@mutation(access=OPERATE)
async def scale(context: Context, input: ScaleInput) -> Scale:
    """Set how many workers are kept when the queue is empty."""
    check_json_limit("capabilities", input.capabilities, SCALE_BYTES)
    count = await workers.scale(context.db, input.capabilities, input.count, context.actor("workers.scale"))
    return Scale(count=count, capabilities=input.capabilities)


@mutation(access=OPERATE)
async def reset_agent(context: Context, input: AgentInput) -> ForgottenFailures:
    """Forget the failures of an agent, so that its jobs wait no longer."""
    refuse_nul(agent=input.agent)
    failures = await agents.reset(context.db, input.agent, context.actor("workers.resetAgent"))
    return ForgottenFailures(agent=input.agent, failures=failures)
