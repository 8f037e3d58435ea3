"""The worker protocol: register, heartbeat, claim, finish. ``append`` has its appends, ``commands`` its commands.

Authority: the database fences every write by job and attempt. A session is one registration of one process.
Hints: they wake a waiting claim and the command stream, which then read the tables. A worker that gets no command
learns the same from its next heartbeat. Failures: an answer that is lost does no harm; see each procedure.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta, field

from app.access.auth import REPORT, WORK
from app.access.context import Context
from app.core.capabilities import NO_NETWORK, OF_RELEASE, STDIN
from app.core.reasons import refusal
from app.loops.claim_waiters import WaitingClaim
from app.loops.monitor import settle_ended
from app.procedures.checks.arguments import (
    CAPABILITIES,
    LABELS_BYTES,
    LOAD_BYTES,
    USAGE_BYTES,
    check_json_limit,
    check_limit,
    in_utc,
    refuse_nul,
)
from app.procedures.checks.fences import AttemptInput, WorkerId, check_own_worker, fence_error
from app.procedures.checks.ids import parse_job
from app.procedures.sealed_environments import open_environments
from app.rpc.server.procedure import mutation
from app.shapes.claimed_jobs import ClaimedJob
from app.shapes.records import AttemptRef, Job, Resources, Wire, amounts, attempt_ref
from db import jobs, model, tokens, workers
from db.model import AttemptKey, JobCommand
from db.workers import RegisteredWorker, Registration, Renewal

_LONGEST_WAIT = 20.0


class RegisterInput(Wire):
    """What a worker registers with."""

    worker_id: WorkerId
    capabilities: list[Annotated[str, Meta(min_length=1, max_length=200)]] = []
    resources: Resources = field(default_factory=Resources)
    labels: dict[str, str] = {}
    slots: Annotated[int, Meta(ge=1, le=1000)] = 1
    version: Annotated[str, Meta(max_length=200)] | None = None
    pid: Annotated[int, Meta(ge=0, le=2_000_000_000)] | None = None
    host: Annotated[str, Meta(max_length=255)] | None = None
    instance: Annotated[str, Meta(max_length=200)] | None = None


class Registered(Wire, omit_defaults=False):
    """The session, the worker's intervals, and the limits of what it sends."""

    worker_id: str
    session: str
    heartbeat_seconds: float
    lease_seconds: float
    file_bytes: int
    event_bytes: int
    batch_events: int


class HeartbeatInput(Wire):
    """The jobs that a worker holds.

    ``at`` is the time by its own clock. With ``stopped`` it sends no more, and the jobs it still holds are requeued.
    """

    worker_id: WorkerId
    session: str
    jobs: list[AttemptRef] = []
    load: Any = None
    at: datetime | None = None
    stopped: bool = False


class HeartbeatAnswer(Wire, omit_defaults=False):
    """Jobs that are no longer the worker's, jobs to cancel and to pause, and whether to drain."""

    lost: list[AttemptRef]
    cancel: list[AttemptRef]
    pause: list[AttemptRef]
    drain: bool


class ClaimInput(Wire):
    """How many jobs a worker wants, and how long it waits for the first.

    With ``credentials`` each job comes with a credential, and only with it can anything be written for that attempt.
    A stolen token of the worker is then useless for its running jobs.
    """

    worker_id: WorkerId
    session: str
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1
    wait_seconds: Annotated[float, Meta(ge=0)] = 0
    credentials: bool = False


class ClaimAnswer(Wire, omit_defaults=False):
    """The jobs that are now the worker's."""

    jobs: list[ClaimedJob]


class FinishInput(AttemptInput, kw_only=True):
    """The end of an attempt, after all of its output.

    ``health`` says whether the agent has worked (``well``) or failed before it did anything (``ill``). Without it the
    outcome, the reason and the usage decide.
    """

    outcome: Literal["succeeded", "failed", "cancelled", "released"]
    last_batch: Annotated[int, Meta(ge=0)] | None = None
    exit_code: Annotated[int, Meta(ge=-2_000_000_000, le=2_000_000_000)] | None = None
    reason: Annotated[str, Meta(max_length=100)] | None = None
    message: Annotated[str, Meta(max_length=10_000)] | None = None
    after_seconds: Annotated[float, Meta(ge=0, le=604_800)] | None = None
    """How long a job that was handed back for a rate limit stays in the queue before it can be claimed."""
    result: Any = None
    usage: Any = None
    health: model.AgentHealth | None = None


async def registered_worker(context: Context, worker_id: str, session: str) -> RegisteredWorker:
    """Return a worker's row. Raises NOT_FOUND, and CONFLICT when another process has registered since."""
    check_own_worker(context, worker_id)
    worker = await workers.registered(context.db, worker_id)
    if worker is None:
        raise refusal("no_such_worker", f"no worker {worker_id!r} is registered")
    if worker.session != session:
        raise refusal("worker_replaced", f"worker {worker_id!r} was registered again by another process")
    return worker


@mutation(access=WORK)
async def register(context: Context, input: RegisterInput) -> Registered:
    """Register a process; an older process of the same id is replaced, and its jobs are requeued."""
    check_own_worker(context, input.worker_id)
    allowed = context.caller.capabilities
    if allowed is not None and not set(input.capabilities) <= {*allowed, NO_NETWORK, *OF_RELEASE}:
        raise refusal("forbidden", f"this token allows only the capabilities {', '.join(allowed)}")
    refuse_nul(**msgspec.to_builtins(input))
    check_limit("capabilities", len(input.capabilities), CAPABILITIES)
    check_json_limit("labels", input.labels, LABELS_BYTES)
    instance = input.instance or f"{input.host}:{input.pid}"
    registration = model.record_of(
        Registration,
        msgspec.structs.asdict(input),
        instance=instance,
        capabilities=_offered(input),
        resources=input.resources.to_model(),
    )
    actor, token_id = context.actor("workers.register"), context.caller.token_id
    registered = await workers.register(context.db, registration, secrets.token_urlsafe(16), actor, token_id)
    if registered is None:
        raise _in_use(context, input.worker_id)
    session, replaced = registered
    if replaced:
        await _end(context, list(await jobs.held(context.db, input.worker_id)), "worker_replaced", loss=True)
    return Registered.from_record(context.services.settings, worker_id=input.worker_id, session=session)


def knows_release_0_2(version: str | None) -> bool:
    """Return whether a worker with this version knows what release 0.2 has added to the protocol of workers."""
    return not (version or "").startswith("0.1.")


def _offered(input: RegisterInput) -> list[str]:
    """Return what a worker offers. Only workers of release 0.1 cannot feed a job's stdin, so that is not asked for."""
    if STDIN in input.capabilities or not knows_release_0_2(input.version):
        return input.capabilities
    return [*input.capabilities, STDIN]


def _in_use(context: Context, worker_id: str) -> Exception:
    seconds = context.services.settings.suspect_seconds
    return refusal(
        "token_in_use",
        f"the token of worker {worker_id!r} belongs to another process, which runs, or is the only one that may use it",
        retrySeconds=seconds,
    )


async def _end(context: Context, keys: list[AttemptKey], reason: str, *, loss: bool) -> None:
    if keys:
        await settle_ended(context.db, await jobs.end_attempts(context.db, keys, reason=reason, loss=loss), reason)


@mutation(access=WORK)
async def heartbeat(context: Context, input: HeartbeatInput) -> HeartbeatAnswer:
    """Renew the listed jobs. A job that was left out twice in a row never reached the worker, and is requeued."""
    check_own_worker(context, input.worker_id)
    check_json_limit("load", input.load, LOAD_BYTES)
    listed = [(*parse_job(ref.job_id), ref.attempt) for ref in input.jobs]
    renewal = await workers.heartbeat(
        context.db,
        worker_id=input.worker_id,
        session=input.session,
        listed=listed,
        load=input.load,
        at=in_utc("at", input.at) if input.at else None,
        stopped=input.stopped,
        lease_seconds=context.services.settings.lease_seconds,
    )
    if renewal is None:
        await registered_worker(context, input.worker_id, input.session)
        raise refusal("no_such_worker", f"worker {input.worker_id!r} is not registered any more")
    await _end(context, _never_received(renewal), "claim_lost", loss=False)
    if input.stopped:  # read again, because a claim may have been granted meanwhile; from now on none is
        await _end(context, list(await jobs.held(context.db, input.worker_id)), "shutdown", loss=False)
        await tokens.end_single(context.db, input.worker_id)
    held = {job.key for job in renewal.held if job.listed}
    return HeartbeatAnswer(
        lost=[attempt_ref(key) for key in listed if key not in held],
        cancel=_commanded(renewal, "cancel"),
        pause=_commanded(renewal, "pause"),
        drain=renewal.draining,
    )


def _commanded(renewal: Renewal, command: JobCommand) -> list[AttemptRef]:
    return [attempt_ref(job.key) for job in renewal.held if job.listed and job.command == command]


def _never_received(renewal: Renewal) -> list[AttemptKey]:
    return [job.key for job in renewal.held if not job.listed and job.missed_heartbeats >= 2]


@mutation(access=WORK)
async def claim(context: Context, input: ClaimInput) -> ClaimAnswer:
    """Give the worker jobs it can run, waiting for the first one. A claim is no heartbeat."""
    check_own_worker(context, input.worker_id)
    deadline = time.monotonic() + min(input.wait_seconds, _LONGEST_WAIT)
    waiters = context.services.claim_waiters
    with waiters.joined() as waiter:
        worker = await _read_worker(context, input, waiter)
        await waiters.yield_to_woken(waiter)
        limit = 1 if waiters.others_wait(waiter) else input.limit
        while True:
            claimed, worker = await _claim_now(context, input, worker, waiter, limit)
            waiter.retried.set()
            left = deadline - time.monotonic()
            if claimed or left <= 0 or waiters.closing:
                break
            is_woken = bool(waiter.capabilities)
            await waiters.wait(waiter, left if is_woken else min(left, context.services.settings.poll_seconds))
            limit = 1
            if not _can_claim(worker):
                worker = await _read_worker(context, input, waiter)
    opened = await open_environments(context, input.worker_id, claimed)
    return ClaimAnswer(jobs=[ClaimedJob.of(job) for job in opened])


def _can_claim(worker: RegisteredWorker) -> bool:
    return worker.fresh and not worker.draining


async def _read_worker(context: Context, input: ClaimInput, waiter: WaitingClaim) -> RegisteredWorker:
    """Return the worker's row, and let the queue wake its claim for what the worker can run."""
    worker = await registered_worker(context, input.worker_id, input.session)
    # The worker of a pod may claim its pod's job only. The queue does not know whose job it is, so this claim polls.
    waiter.capabilities = worker.capabilities if _can_claim(worker) and not worker.bound else frozenset()
    return worker


async def _claim_now(
    context: Context, input: ClaimInput, worker: RegisteredWorker, waiter: WaitingClaim, limit: int
) -> tuple[list[model.ClaimedJobRow], RegisteredWorker]:
    """Return the jobs that the worker gets without waiting, and its row as it then is.

    The statement refuses a claim made with an outdated row (None, not an empty list), for example because another
    claim of the worker came first. Then the row is read again, and the claim is repeated if the row has changed.
    """
    settings = context.services.settings
    while _can_claim(worker):
        claimed = await jobs.claim(
            context.db,
            worker_id=input.worker_id,
            session=input.session,
            claims=worker.claims,
            limit=limit,
            suspect_seconds=settings.suspect_seconds,
            lease_seconds=settings.lease_seconds,
            credentials=input.credentials,
        )
        if claimed is not None:
            return claimed, replace(worker, claims=worker.claims + 1)
        refused, worker = worker, await _read_worker(context, input, waiter)
        if worker == refused:
            break
    return [], worker


@mutation(access=REPORT)
async def finish(context: Context, input: FinishInput) -> Job:
    """Close an attempt. A repeated call returns the stored job, whatever outcome it reports."""
    held = input.held(context)
    check_json_limit("result", input.result, context.services.settings.result_bytes)
    check_json_limit("usage", input.usage, USAGE_BYTES)
    report = model.record_of(
        jobs.Finish,
        msgspec.structs.asdict(input) | model.parameters_of(held),
        result=_json(input.result),
        usage=_json(amounts(input.usage)),
    )
    finished = await context.services.finish_batcher.close_attempt(report)
    return Job.of(finished) if finished else await _finished_before(context, report)


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


async def _finished_before(context: Context, report: jobs.Finish) -> Job:
    job = await jobs.get(context.db, report.task_id, report.job)
    if job is not None and job.finished_attempt == report.attempt and job.worker_id in (report.worker_id, None):
        return Job.of(job)
    raise fence_error(job, report, report.last_batch)
