"""A job as the worker that has claimed it gets it."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType, convert, field

from app.shapes.checks import Checks
from app.shapes.records import Budget, Wire, job_id
from db import model


class Raised(Wire, omit_defaults=False):
    """How often a person has raised each limit of a job's budget by its own amount."""

    cost_usd: int = 0
    tokens: int = 0
    turns: int = 0


class Spent(Wire, omit_defaults=False):
    """What earlier attempts of a job have used, and what a person has decided about its budget."""

    cost_usd: float = 0
    tokens: float = 0
    turns: float = 0
    raised: Raised = field(default_factory=Raised)
    stopped: bool = False
    """Whether a person has answered the last question about the budget with ``stop``."""


class ClaimedJob(Wire):
    """A job as its worker gets it, with the environment's values and a token for the job's own calls.

    ``credential`` is there if the claim asked for it. The worker sends it with every append and finish of this attempt,
    and uses it as the token for the attempt's files.
    """

    job_id: str
    task_id: str
    job: int
    attempt: int
    prompt: str
    agent: str
    agent_args: Any
    requires: list[str]
    env: dict[str, str]
    workers: int
    token: str
    messages: int
    """How many messages the job has; ``workers.messages`` returns them."""
    credential: str | UnsetType = UNSET
    timeout_seconds: float | UnsetType = UNSET
    workspace: Any = UNSET
    trust_project: bool | UnsetType = UNSET
    checks: Checks | UnsetType = UNSET
    budget: Budget | UnsetType = UNSET
    spent: Spent | UnsetType = UNSET
    """What earlier attempts of a job with a budget have used."""
    continues: bool | UnsetType = UNSET
    """Whether it had ended, and goes on with a message."""

    @classmethod
    def of(cls, job: model.ClaimedJobRow) -> ClaimedJob:
        """Make the shape of a record."""
        return cls.from_record(
            job,
            job_id=job_id(job.task_id, job.job),
            task_id=f"task-{job.task_id}",
            env=dict(job.environment),
            trust_project=job.trust_project or UNSET,
            continues=job.continues or UNSET,
            checks=convert(job.checks, Checks) if job.checks else UNSET,
            budget=convert(job.budget, Budget) if job.budget else UNSET,
            spent=convert(job.spent, Spent) if job.spent else UNSET,
        )
