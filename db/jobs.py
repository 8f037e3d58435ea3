"""Typed functions over ``sql/queries/jobs.sql`` and ``monitor.sql``: claims, ends of attempts, time-outs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db import tokens
from db.database import Database
from db.model import AgentHealth, AttemptKey, ClaimedJobRow, Demand, JobCommand, JobRow, Outcome, record_of


@dataclass(frozen=True, slots=True)
class Finish:
    """A worker's report of the end of an attempt."""

    task_id: int
    job: int
    attempt: int
    worker_id: str
    outcome: Outcome
    last_batch: int | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    after_seconds: float | None = None
    """How long the job stays in the queue if it was handed back for a rate limit."""
    result: str | None = None
    """JSON text."""
    usage: str | None = None
    """JSON text."""
    credential: bytes | None = None
    """Digest of the credential that came with the report."""
    health: AgentHealth | None = None
    """What the end says of the agent; None: its outcome and reason decide."""

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 200 + len(self.message or "") + len(self.result or "") + len(self.usage or "")


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """The outcome of an attempt that its worker did not end."""

    task_id: int
    job: int
    attempt: int
    worker_id: str | None
    status: str
    stops_siblings: bool
    """Whether the job failed and its task says fail_fast."""


async def claim(
    db: Database,
    *,
    worker_id: str,
    session: str,
    claims: int,
    limit: int,
    suspect_seconds: float,
    lease_seconds: float,
    credentials: bool = False,
) -> list[ClaimedJobRow] | None:
    """Claim up to ``limit`` jobs for a worker whose claim number is still ``claims``; each job gets a token.

    With ``credentials`` each attempt also gets a credential, and later writes for the attempt must carry it. None if
    the claim number is another one, or the worker may not claim; otherwise the claim number has grown by one.
    """
    secrets = [tokens.secret() for _ in range(limit)]
    attempt_secrets = [tokens.secret() for _ in range(limit)] if credentials else None
    rows = await db.many(
        "claim_jobs",
        worker_id=worker_id,
        session=session,
        claims=claims,
        job_limit=limit,
        suspect_seconds=suspect_seconds,
        lease_seconds=lease_seconds,
        token_digests=[tokens.digest(secret) for secret in secrets],
        credential_digests=None if attempt_secrets is None else [tokens.digest(secret) for secret in attempt_secrets],
    )
    if not rows:
        return None
    numbered = [(row, row["position"] - 1) for row in rows if row["job"] is not None]
    return [
        ClaimedJobRow.of(row, secrets[position], attempt_secrets[position] if attempt_secrets else None)
        for row, position in numbered
    ]


async def finish_all(db: Database, reports: Sequence[Finish]) -> list[tuple[JobRow, bool] | None]:
    """Close attempts of different jobs in one commit.

    Returns for each report the stored job and whether its siblings must stop, or None if the fence refused it.
    """
    rows = await db.many("finish_jobs", **columns(reports))
    closed = {}
    for row in rows:
        job = JobRow.of(row)
        closed[job.task_id, job.job] = job, _stops_siblings(row)
    return [closed.get((report.task_id, report.job)) for report in reports]


def _stops_siblings(row: Mapping[str, Any]) -> bool:
    return bool(row["status"] == "failed" and row["on_failure"] == "fail_fast")


def columns(reports: Sequence[Finish]) -> dict[str, list[Any]]:
    """Return the parameters of ``finish_jobs``."""
    return {
        "task_ids": [report.task_id for report in reports],
        "jobs": [report.job for report in reports],
        "attempts": [report.attempt for report in reports],
        "worker_ids": [report.worker_id for report in reports],
        "last_batches": [report.last_batch for report in reports],
        "outcomes": [report.outcome for report in reports],
        "exit_codes": [report.exit_code for report in reports],
        "reasons": [report.reason for report in reports],
        "messages": [report.message for report in reports],
        "after_seconds": [report.after_seconds for report in reports],
        "results": [report.result for report in reports],
        "usages": [report.usage for report in reports],
        "credentials": [report.credential for report in reports],
        "healths": [report.health for report in reports],
    }


async def end_attempts(
    db: Database, attempts: Iterable[AttemptKey], *, reason: str, loss: bool, overdue_only: bool = False
) -> list[EndedAttempt]:
    """End attempts that their worker does not end; attempts that no longer run are left alone."""
    keys = list(attempts)
    rows = await db.many(
        "end_attempts",
        task_ids=[key[0] for key in keys],
        jobs=[key[1] for key in keys],
        attempts=[key[2] for key in keys],
        loss=int(loss),
        overdue_only=overdue_only,
        reason=reason,
    )
    return [record_of(EndedAttempt, row, stops_siblings=_stops_siblings(row)) for row in rows]


async def get(db: Database, task_id: int, job: int) -> JobRow | None:
    """Return one job."""
    row = await db.optional("get_job", task_id=task_id, job=job)
    return JobRow.of(row) if row else None


async def held(db: Database, worker_id: str) -> dict[AttemptKey, JobCommand | None]:
    """Return the running attempts of a worker, each with what the worker must do with it."""
    rows = await db.many("held_jobs", worker_id=worker_id)
    return {(row["task_id"], row["job"], row["attempt"]): row["command"] for row in rows}


async def unguarded(db: Database, worker_id: str) -> set[tuple[int, int]]:
    """Return the jobs (task, job) of a worker whose attempts have no credential: the worker's token writes for them."""
    rows = await db.many("held_jobs", worker_id=worker_id)
    return {(row["task_id"], row["job"]) for row in rows if not row["is_guarded"]}


async def overdue(db: Database, suspect_seconds: float) -> list[AttemptKey]:
    """Return attempts whose lease has run out."""
    rows = await db.many("overdue_jobs", suspect_seconds=suspect_seconds)
    return [(row["task_id"], row["job"], row["attempt"]) for row in rows]


async def abandoned(db: Database) -> list[AttemptKey]:
    """Return running attempts whose worker has reported its end."""
    return [(row["task_id"], row["job"], row["attempt"]) for row in await db.many("abandoned_jobs")]


async def fail_unstarted(db: Database) -> list[EndedAttempt]:
    """Fail jobs that nobody claimed by their task's ``start_by``."""
    rows = await db.many("fail_unstarted_jobs")
    return [
        EndedAttempt(row["task_id"], row["job"], 0, None, "failed", row["on_failure"] == "fail_fast") for row in rows
    ]


async def time_out(db: Database) -> Sequence[str]:
    """Mark attempts past their timeout; return their workers."""
    return [row["worker_id"] for row in await db.many("time_out_jobs")]


async def ready_demands(
    db: Database, offered: Collection[str] | None = None, *, count_limit: int = 1000, in_all: int | None = None
) -> list[Demand]:
    """Return what can be claimed now, by demand; each is counted up to ``count_limit``.

    ``offered``: only demands that need no more than these capabilities. ``in_all``: the most jobs to count, as many of
    each demand and user; a tenth as many of those are looked at.
    """
    resources = {"cpu": None, "memory": None, "gpu": None}
    rows = await db.many("ready_demands", offered=offered, count_limit=count_limit, in_all=in_all, **resources)
    return [Demand.of(row) for row in rows]


async def counts(db: Database) -> tuple[int, int, int]:
    """Return how many jobs are queued, how many run, and how many are paused; past 10,000 as of the last sample."""
    row = await db.one("queue_counts")
    return row["queued"], row["running"], row["paused"]
