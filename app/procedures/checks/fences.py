"""The fence of a worker's writes: which caller may write for an attempt, and why a write was refused."""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeGuard

from msgspec import Meta

from app.access.context import Context
from app.core.reasons import refusal
from app.procedures.checks.ids import no_such_job, parse_job
from app.shapes.records import Wire, job_id
from db import tokens
from db.events import Batch
from db.jobs import Finish
from db.model import AttemptKey, HeldAttempt, JobRow

WorkerId = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Attempt = Annotated[int, Meta(ge=1, le=2_000_000_000)]
Secret = Annotated[str, Meta(min_length=1, max_length=200)]
AttemptWrite: TypeAlias = HeldAttempt | Batch | Finish
"""A write for an attempt."""


class AttemptInput(Wire, kw_only=True):
    """What every call for an attempt carries; a token that is the attempt's credential stands for ``credential``."""

    worker_id: WorkerId
    job_id: str
    attempt: Attempt
    credential: Secret | None = None

    def held(self, context: Context) -> HeldAttempt:
        """Return the attempt that the call writes for. Raises FORBIDDEN and NOT_FOUND."""
        return held_attempt(context, self.worker_id, self.job_id, self.attempt, self.credential)


def check_own_worker(context: Context, worker_id: str) -> None:
    """Raise FORBIDDEN when a worker's token is used for another worker."""
    caller = context.caller
    if caller.role in ("worker", "attempt") and caller.worker_id != worker_id:
        step = f"start the worker with --id {caller.worker_id}, or make a token for worker {worker_id}"
        raise refusal("forbidden", f"this token is for worker {caller.worker_id!r} only", hint=step)


def credential_digest(context: Context, key: AttemptKey, credential: str | None = None) -> bytes | None:
    """Return the digest of an attempt's credential: the call's token, or the ``credential`` of its input.

    Raises FORBIDDEN when the token is another attempt's credential.
    """
    caller = context.caller
    if caller.role != "attempt":
        return None if credential is None else tokens.digest(credential)
    if key != (caller.task_id, caller.job, caller.attempt):
        raise refusal("forbidden", f"this credential is for attempt {caller.attempt} of its own job only")
    return context.credential


def held_attempt(
    context: Context, worker_id: str, job_id: str, attempt: int, credential: str | None = None
) -> HeldAttempt:
    """Return the attempt that a call writes for. Raises FORBIDDEN and NOT_FOUND."""
    check_own_worker(context, worker_id)
    key = (*parse_job(job_id), attempt)
    return HeldAttempt(*key, worker_id, credential_digest(context, key, credential))


def _has_attempt(job: JobRow, write: AttemptWrite) -> bool:
    return job.status == "running" and (job.attempt, job.worker_id) == (write.attempt, write.worker_id)


def may_write(job: JobRow | None, write: AttemptWrite) -> TypeGuard[JobRow]:
    """Whether the job runs the attempt on this worker, and the write has the attempt's credential if there is one."""
    return job is not None and _has_attempt(job, write) and job.credential in (None, write.credential)


def fence_error(job: JobRow | None, write: AttemptWrite, batch: int | None = None) -> Exception:
    """Return why the fence refused a write: ``job`` is the row as it is now, ``batch`` the number that was sent."""
    name = job_id(write.task_id, write.job)
    if job is None:
        return no_such_job(name)
    if not _has_attempt(job, write):
        return lease_lost(write)
    if not may_write(job, write):
        return refusal("credential_missing", f"{name}: attempt {write.attempt} writes with a credential of its own")
    if batch is None:
        return lease_lost(write)
    expected = job.last_batch + 1
    return refusal("batch_gap", f"{name}: batch {batch} came before batch {expected}", expected=expected)


def lease_lost(write: AttemptWrite) -> Exception:
    """Make the error for a worker that no longer holds its attempt."""
    name = job_id(write.task_id, write.job)
    return refusal("lease_lost", f"{name}: attempt {write.attempt} is no longer held by worker {write.worker_id!r}")
