"""The fence of a worker's writes: who may write for an attempt, and why a write was refused."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from app.access.context import Context
from app.core.reasons import refusal
from app.procedures.checks.ids import no_such_job
from db import model, tokens
from db.model import AttemptKey

WorkerId = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Attempt = Annotated[int, Meta(ge=1, le=2_000_000_000)]
Secret = Annotated[str, Meta(min_length=1, max_length=200)]


def own(context: Context, worker_id: str) -> None:
    """Raise FORBIDDEN when a worker's token is used for another worker."""
    caller = context.caller
    if caller.role in ("worker", "attempt") and caller.worker_id != worker_id:
        step = f"start the worker with --id {caller.worker_id}, or make a token for worker {worker_id}"
        raise refusal("forbidden", f"this token is for worker {caller.worker_id!r} alone", hint=step)


def credential_of(context: Context, key: AttemptKey, given: str | None = None) -> bytes | None:
    """Return the digest of an attempt's credential, which is the call's token or was ``given`` in its input.

    Raises FORBIDDEN when the token is another attempt's credential.
    """
    caller = context.caller
    if caller.role != "attempt":
        return None if given is None else tokens.digest(given)
    if key != (caller.task_id, caller.job, caller.attempt):
        raise refusal("forbidden", f"this credential is for attempt {caller.attempt} of its own job alone")
    return context.credential


def fence_error(
    job: model.Job | None, text: str, attempt: int, worker_id: str, batch: int | None, credential: bytes | None
) -> Exception:
    """Say why the fence refused a write: ``job`` is the row as it is now, ``batch`` the number that was needed."""
    if job is None:
        return no_such_job(text)
    is_held = job.status == "running" and job.attempt == attempt and job.worker_id == worker_id
    if is_held and job.credential not in (None, credential):
        return refusal("credential_missing", f"{text}: attempt {attempt} writes with a credential of its own")
    if is_held and batch is not None:
        return refusal(
            "batch_gap", f"{text}: batch {batch} came before batch {job.last_batch + 1}", expected=job.last_batch + 1
        )
    return refusal("lease_lost", f"{text}: attempt {attempt} is no longer held by worker {worker_id!r}")
