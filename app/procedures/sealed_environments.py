"""Decrypts the environments of jobs that were just claimed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from app.access.context import Context
from app.core.environment_cipher import EnvironmentUnreadable
from db import tokens
from db.jobs import Finish
from db.model import ClaimedJobRow

_log = logging.getLogger("ado.api")
_UNREADABLE = (
    "its --env values cannot be decrypted: no key in this replica's ADO_DATA_KEY is the one that encrypted them"
)


async def open_environments(context: Context, worker_id: str, claimed: Iterable[ClaimedJobRow]) -> list[ClaimedJobRow]:
    """Return claimed jobs with their environments. A job whose environment cannot be decrypted fails instead.

    If it were requeued, it would be claimed again at once, here or by another replica with the same wrong key.
    """
    opened = []
    for job in claimed:
        try:
            opened.append(_open(context, job))
        except EnvironmentUnreadable:
            _log.error("environment unreadable", extra={"task": job.task_id, "job": job.job})
            await context.services.finish_batcher.close_attempt(_failure(job, worker_id))
    return opened


def _open(context: Context, job: ClaimedJobRow) -> ClaimedJobRow:
    if job.sealed_environment is None:
        return job
    return replace(job, environment=context.services.cipher.open(job.sealed_environment), sealed_environment=None)


def _failure(job: ClaimedJobRow, worker_id: str) -> Finish:
    credential = tokens.digest(job.credential) if job.credential else None
    return Finish(
        task_id=job.task_id,
        job=job.job,
        attempt=job.attempt,
        worker_id=worker_id,
        outcome="failed",
        reason="start_failed",
        message=_UNREADABLE,
        credential=credential,
    )
