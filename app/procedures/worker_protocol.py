"""The worker protocol: register, heartbeat, claim, finish, commands. ``workers.append`` is in ``append``.

Authority: every write is fenced by (job, attempt) in the database; a session is one registration of one process.
Hints: a parked claim and the command stream are woken, and look at the tables. A worker that hears nothing learns the
same from its next heartbeat. Failures: an answer that never arrives is harmless; see each procedure.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta, field

from app.access.auth import REPORT, WORK
from app.access.context import Context
from app.core.capabilities import NO_NETWORK, STDIN
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
from app.procedures.checks.fences import Attempt, Secret, WorkerId, check_own_worker, credential_digest, fence_error
from app.procedures.checks.ids import parse_job
from app.procedures.sealed_environments import open_environments
from app.rpc.server.procedure import Tracked, mutation, subscription
from app.shapes.records import AttemptRef, ClaimedJob, Job, Resources, Wire, attempt_ref
from db import jobs, model, tokens, workers
from db.model import AttemptKey
from db.workers import RegisteredWorker, Registration, Renewal

_LONGEST_WAIT = 20.0


class RegisterInput(Wire):
    """What a worker says of itself."""

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
    """The session, the rhythm the worker keeps, and the limits of what it sends."""

    worker_id: str
    session: str
    heartbeat_seconds: float
    lease_seconds: float
    file_bytes: int
    event_bytes: int
    batch_events: int


class HeartbeatInput(Wire):
    """The jobs a worker holds; ``at`` is its own clock, ``stopped`` its last word: what it still has goes back."""

    worker_id: WorkerId
    session: str
    jobs: list[AttemptRef] = []
    load: Any = None
    at: datetime | None = None
    stopped: bool = False


class HeartbeatAnswer(Wire, omit_defaults=False):
    """Jobs that are no longer the worker's, jobs to cancel, and whether to drain."""

    lost: list[AttemptRef]
    cancel: list[AttemptRef]
    drain: bool


class ClaimInput(Wire):
    """How many jobs a worker wants, and how long it will wait for the first.

    With ``credentials`` each comes with one, and only with it is anything written for that attempt: a worker's token
    alone is then worth nothing to a thief.
    """

    worker_id: WorkerId
    session: str
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1
    wait_seconds: Annotated[float, Meta(ge=0)] = 0
    credentials: bool = False


class ClaimAnswer(Wire, omit_defaults=False):
    """The jobs that are now the worker's."""

    jobs: list[ClaimedJob]


class FinishInput(Wire):
    """The end of an attempt, after all of its output."""

    worker_id: WorkerId
    job_id: str
    attempt: Attempt
    outcome: Literal["succeeded", "failed", "cancelled", "released"]
    last_batch: Annotated[int, Meta(ge=0)] | None = None
    exit_code: Annotated[int, Meta(ge=-2_000_000_000, le=2_000_000_000)] | None = None
    reason: Annotated[str, Meta(max_length=100)] | None = None
    message: Annotated[str, Meta(max_length=10_000)] | None = None
    result: Any = None
    usage: Any = None
    credential: Secret | None = None


class SessionInput(Wire):
    """A registered process."""

    worker_id: WorkerId
    session: str
    last_event_id: str | None = None


class Command(Wire):
    """What a worker must do: cancel a job, forget a lost one, or drain."""

    type: Literal["cancel", "lost", "drain"]
    job_id: str | None = None
    attempt: int | None = None


async def _present(context: Context, worker_id: str, session: str) -> RegisteredWorker:
    check_own_worker(context, worker_id)
    found = await workers.registered(context.db, worker_id)
    if found is None:
        raise refusal("no_such_worker", f"no worker {worker_id!r} is registered")
    if found.session != session:
        raise refusal("worker_replaced", f"worker {worker_id!r} was registered again by another process")
    return found


@mutation(access=WORK)
async def register(context: Context, input: RegisterInput) -> Registered:
    """Register a process; another one under the same id is replaced and its jobs are queued again."""
    check_own_worker(context, input.worker_id)
    allowed = context.caller.capabilities
    if allowed is not None and not set(input.capabilities) <= {*allowed, NO_NETWORK, STDIN}:
        raise refusal("forbidden", f"this token allows the capabilities {', '.join(allowed)} alone")
    refuse_nul(**msgspec.to_builtins(input))
    check_limit("capabilities", len(input.capabilities), CAPABILITIES)
    check_json_limit("labels", input.labels, LABELS_BYTES)
    instance = input.instance or f"{input.host}:{input.pid}"
    registration = Registration(
        input.worker_id,
        instance,
        input.capabilities,
        input.resources.to_model(),
        input.labels,
        input.slots,
        input.version,
        input.pid,
        input.host,
    )
    actor, token_id = context.actor("workers.register"), context.caller.token_id
    registered = await workers.register(context.db, registration, secrets.token_urlsafe(16), actor, token_id)
    if registered is None:
        raise _in_use(context, input.worker_id)
    session, replaced = registered
    if replaced:
        await _end(context, list(await jobs.held(context.db, input.worker_id)), "worker_replaced", loss=True)
    settings = context.services.settings
    return Registered(
        worker_id=input.worker_id,
        session=session,
        heartbeat_seconds=settings.heartbeat_seconds,
        lease_seconds=settings.lease_seconds,
        file_bytes=settings.file_bytes,
        event_bytes=settings.event_bytes,
        batch_events=settings.batch_events,
    )


def _in_use(context: Context, worker_id: str) -> Exception:
    seconds = context.services.settings.suspect_seconds
    return refusal(
        "token_in_use",
        f"the token of worker {worker_id!r} belongs to another process, which runs or was alone meant to use it",
        retrySeconds=seconds,
    )


async def _end(context: Context, keys: list[AttemptKey], reason: str, *, loss: bool) -> None:
    if keys:
        await settle_ended(context.db, await jobs.end_attempts(context.db, keys, reason=reason, loss=loss), reason)


@mutation(access=WORK)
async def heartbeat(context: Context, input: HeartbeatInput) -> HeartbeatAnswer:
    """Renew the listed jobs. A job left out twice in a row was never received and is queued again."""
    check_own_worker(context, input.worker_id)
    check_json_limit("load", input.load, LOAD_BYTES)
    listed = [(*parse_job(ref.job_id), ref.attempt) for ref in input.jobs]
    beat = await workers.heartbeat(
        context.db,
        worker_id=input.worker_id,
        session=input.session,
        listed=listed,
        load=input.load,
        at=in_utc("at", input.at) if input.at else None,
        stopped=input.stopped,
        lease_seconds=context.services.settings.lease_seconds,
    )
    if beat is None:
        await _present(context, input.worker_id, input.session)
        raise refusal("no_such_worker", f"worker {input.worker_id!r} is not registered any more")
    await _end(context, _unheard(beat), "claim_lost", loss=False)
    if input.stopped:  # looked for again, because a claim may have crossed this last word; after it there is none
        await _end(context, list(await jobs.held(context.db, input.worker_id)), "shutdown", loss=False)
        await tokens.end_single(context.db, input.worker_id)
    mine = {job.key for job in beat.held if job.listed}
    return HeartbeatAnswer(
        lost=[attempt_ref(key) for key in listed if key not in mine],
        cancel=[attempt_ref(job.key) for job in beat.held if job.listed and job.stop_reason],
        drain=beat.draining,
    )


def _unheard(beat: Renewal) -> list[AttemptKey]:
    return [job.key for job in beat.held if not job.listed and job.missed_heartbeats >= 2]


@mutation(access=WORK)
async def claim(context: Context, input: ClaimInput) -> ClaimAnswer:
    """Give the worker jobs it can run, waiting for the first one. A claim is no heartbeat."""
    check_own_worker(context, input.worker_id)
    deadline = time.monotonic() + min(input.wait_seconds, _LONGEST_WAIT)
    waiters = context.services.claim_waiters
    with waiters.joined() as waiter:
        presence = await _read_presence(context, input, waiter)
        await waiters.yield_to_woken(waiter)
        limit = 1 if waiters.others_wait(waiter) else input.limit
        while True:
            claimed, presence = await _claim_now(context, input, presence, waiter, limit)
            waiter.retried.set()
            left = deadline - time.monotonic()
            if claimed or left <= 0 or waiters.closing:
                break
            is_woken = bool(waiter.capabilities)
            await waiters.wait(waiter, left if is_woken else min(left, context.services.settings.poll_seconds))
            limit = 1
            if not _can_claim(presence):
                presence = await _read_presence(context, input, waiter)
    opened = await open_environments(context, input.worker_id, claimed)
    return ClaimAnswer(jobs=[ClaimedJob.of(job) for job in opened])


def _can_claim(presence: RegisteredWorker) -> bool:
    return presence.fresh and not presence.draining


async def _read_presence(context: Context, input: ClaimInput, waiter: WaitingClaim) -> RegisteredWorker:
    """Return the worker's row, and let the queue wake its claim for what the worker can run."""
    presence = await _present(context, input.worker_id, input.session)
    # The worker of a pod may claim its pod's job only. The queue does not know whose job it is, so this claim polls.
    waiter.capabilities = presence.capabilities if _can_claim(presence) and not presence.bound else frozenset()
    return presence


async def _claim_now(
    context: Context, input: ClaimInput, presence: RegisteredWorker, waiter: WaitingClaim, limit: int
) -> tuple[list[model.ClaimedJob], RegisteredWorker]:
    """Return the jobs that the worker gets without waiting, and its row as it then is.

    The statement refuses a claim made with an outdated row (None, not an empty list), for example because another
    claim of the worker came first. Then the row is read again, and the claim is repeated if the row has changed.
    """
    settings = context.services.settings
    while _can_claim(presence):
        claimed = await jobs.claim(
            context.db,
            worker_id=input.worker_id,
            session=input.session,
            claims=presence.claims,
            limit=limit,
            suspect_seconds=settings.suspect_seconds,
            lease_seconds=settings.lease_seconds,
            credentials=input.credentials,
        )
        if claimed is not None:
            return claimed, replace(presence, claims=presence.claims + 1)
        refused, presence = presence, await _read_presence(context, input, waiter)
        if presence == refused:
            break
    return [], presence


@mutation(access=REPORT)
async def finish(context: Context, input: FinishInput) -> Job:
    """Close an attempt. Repeated, with whatever outcome, it returns what was stored."""
    check_own_worker(context, input.worker_id)
    check_json_limit("result", input.result, context.services.settings.result_bytes)
    check_json_limit("usage", input.usage, USAGE_BYTES)
    task_id, job = parse_job(input.job_id)
    report = jobs.Finish(
        task_id,
        job,
        input.attempt,
        input.worker_id,
        input.last_batch,
        input.outcome,
        input.exit_code,
        input.reason,
        input.message,
        _text(input.result),
        _text(input.usage),
        credential_digest(context, (task_id, job, input.attempt), input.credential),
    )
    finished = await context.services.finish_batcher.close_attempt(report)
    return Job.of(finished) if finished else await _finished_before(context, report)


def _text(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


async def _finished_before(context: Context, report: jobs.Finish) -> Job:
    job = await jobs.get(context.db, report.task_id, report.job)
    if job is not None and job.finished_attempt == report.attempt and job.worker_id in (report.worker_id, None):
        return Job.of(job)
    raise fence_error(job, report, report.last_batch)


@subscription(access=WORK)
async def commands(context: Context, input: SessionInput) -> AsyncIterator[Tracked[Command]]:
    """Tell a worker what to do: what is open first, then as it comes. A heartbeat's answer says the same.

    What it held before is asked for first: only then is an attempt that is not held now one that was lost.
    """
    told: set[str] = set()
    seen: set[AttemptKey] = set()
    with context.services.hub.waiting(("w", input.worker_id)) as hint:
        while True:
            seen |= context.services.command_poll.held_by(input.worker_id)
            present = await _present(context, input.worker_id, input.session)
            held = await jobs.held(context.db, input.worker_id)
            seen -= {key for key in seen - held.keys() if await _was_finished(context, key)}
            for name, command in _open_commands(present, held, seen):
                if name not in told:
                    told.add(name)
                    yield Tracked(name, command)
            seen = set(held)
            await hint.wait(_LONGEST_WAIT)


async def _was_finished(context: Context, key: AttemptKey) -> bool:
    """Whether an attempt is no longer held because its worker closed it, which is no loss to be told of."""
    job = await jobs.get(context.db, key[0], key[1])
    return job is not None and job.finished_attempt == key[2]


def _open_commands(
    present: RegisteredWorker, held: dict[AttemptKey, str | None], seen: set[AttemptKey]
) -> list[tuple[str, Command]]:
    found = []
    for kind, keys in (
        ("cancel", [key for key, stop_reason in held.items() if stop_reason]),
        ("lost", [key for key in seen if key not in held]),
    ):
        for key in keys:
            ref = attempt_ref(key)
            command = Command(type=kind, job_id=ref.job_id, attempt=ref.attempt)  # type: ignore[arg-type]
            found.append((f"{kind}:{ref.job_id}:{ref.attempt}", command))
    if present.draining:
        found.append(("drain", Command(type="drain")))
    return found
