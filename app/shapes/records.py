"""The shapes on the wire: camelCase names, ISO 8601 times with a zone, absent members left out.

Tasks, jobs and workers as programs see them. They are made from the records of ``db.model`` here and nowhere else.
Most inherit their members from the records that clients read, and name only those of which the server says more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, Self, cast

from msgspec import UNSET, Meta, Struct, convert
from msgspec.structs import fields

from app.client import fleet, models
from app.client.records import Record
from app.core.approvals import Approval, approval_in
from app.core.capabilities import NO_NETWORK, STDIN
from app.core.reasons import POD_REASONS
from app.shapes.checks import Checks
from db import model
from db.model import Status
from db.workers import WorkerRow

_MOST = 2**60
Amount = Annotated[float, Meta(ge=0, le=_MOST)]
WorkerState = Literal["starting", "idle", "busy", "suspect", "draining", "dead", "stopped"]


class _FromRecord:
    """A shape that is made from a record by the names of its members."""

    __slots__ = ()

    @classmethod
    def from_record(cls, record: object, **members: Any) -> Self:
        """Copy a record's attributes that have the names of members; ``members`` are those that differ.

        An attribute that is None is left out where the member may be absent.
        """
        for name, may_be_absent in _members(cast("type[Struct]", cls)):
            if name not in members:
                value = getattr(record, name)
                if value is not None or not may_be_absent:
                    members[name] = value
        return cls(**members)


class Wire(_FromRecord, Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Base of the shapes that have all of their members here: camelCase on the wire."""


class RecordShape(_FromRecord, Record, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the shapes that inherit members from a record of clients, where None is an absent member.

    A member that the record has another default for is named again, because the server always sends it.
    """


@cache
def _members(shape: type[Struct]) -> list[tuple[str, bool]]:
    """Return the names of a shape's members, and whether each may be absent."""
    return [(member.name, member.default is UNSET) for member in fields(shape)]


class Resources(models.Resources, RecordShape, frozen=True, kw_only=True, omit_defaults=False):
    """``cpu`` in cores, ``memory`` in bytes, ``gpu`` as a count."""

    cpu: Amount = 0
    memory: Amount = 0
    gpu: Amount = 0

    def to_model(self) -> model.ResourceAmounts:
        """Return the record of the database layer."""
        return model.ResourceAmounts(float(self.cpu), int(self.memory), float(self.gpu))


class AttemptRef(Wire):
    """An attempt: a job id and the attempt's number."""

    job_id: str
    attempt: int


class JobPod(models.JobPod, RecordShape, frozen=True, kw_only=True):
    """The pod that will run a queued job, the reason why it does not run yet, and the next step."""

    state: str

    @classmethod
    def of(cls, pod: model.JobPodRow) -> JobPod:
        """Make the shape of a record."""
        if pod.reason is None:
            return cls(name=pod.name, state=pod.state)
        return cls.from_record(pod, message=pod.message or "", hint=POD_REASONS[pod.reason][1])


class Usage(models.Usage, RecordShape, frozen=True, kw_only=True):
    """What an AI agent used in an attempt, with the cost in US dollars. A figure that it did not report is absent."""


def amounts(usage: Any) -> dict[str, float] | None:
    """Return the members of a usage that are amounts, for agents report anything; None if it is no object."""
    if not isinstance(usage, Mapping):
        return None
    return {
        name: value
        for name, value in usage.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST
    }


class Result(models.Result, RecordShape, frozen=True, kw_only=True):
    """The final text of an AI agent; with ``cut`` it is only a part of that text."""


class Job(models.Job, RecordShape, frozen=True, kw_only=True):
    """One claimable unit of a task."""

    agent: str
    status: Status
    result: Result | None = None
    usage: Usage | None = None
    pod: JobPod | None = None

    @classmethod
    def of(cls, job: model.JobRow) -> Job:
        """Make the shape of a record."""
        return cls.from_record(
            job,
            job_id=job_id(job.task_id, job.job),
            result_bytes=job.left_out_bytes,
            usage=amounts(job.usage),
            dropped_bytes=job.dropped_bytes or None,
            pod=JobPod.of(job.pod) if job.pod else None,
        )


class WorkerObstacle(models.WorkerObstacle, RecordShape, frozen=True, kw_only=True):
    """What keeps a live worker from a queued job: the most basic requirement that is not met, and what would help."""

    state: WorkerState


class Wait(models.Wait, RecordShape, frozen=True, kw_only=True):
    """Why a task waits, in one line, and what keeps each live worker from the job that may start first.

    The workers are not all of them, if they are too many for an answer.
    """

    workers: list[WorkerObstacle]  # type: ignore[assignment]


class Budget(Wire):
    """What each job of a task may use, over all of its attempts.

    ``turns`` counts runs of the agent from a prompt or message to its last word. ``tokens`` are those that the model
    reads, writes and caches anew.
    """

    cost_usd: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    tokens: Annotated[int, Meta(ge=1, le=10**15)] | None = None
    turns: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    on_budget: Literal["ask", "fail"] = "ask"
    """What happens at a limit: a person is asked whether to raise it, or the job fails."""


class Task(models.Task, RecordShape, frozen=True, kw_only=True):
    """A task with its jobs."""

    status: Status
    network: Literal["all", "none"]
    stdin: bool
    resources: Resources
    retries: int
    on_failure: str
    env_names: list[str]
    last_seq: int
    jobs: list[Job]  # type: ignore[assignment]
    checks: Checks | None = None  # type: ignore[assignment]
    approve: Approval | None = None
    budget: Budget | None = None  # type: ignore[assignment]
    wait: Wait | None = None

    @classmethod
    def of(cls, task: model.TaskRow) -> Task:
        """Make the shape of a record."""
        return cls.from_record(
            task,
            task_id=f"task-{task.task_id}",
            network="none" if NO_NETWORK in task.requires else "all",
            stdin=STDIN in task.requires,
            approve=approval_in(task.requires),
            resources=Resources.from_record(task.resources),
            jobs=[Job.of(job) for job in task.jobs],
            wait=None,
            prompt_cut=task.prompt_cut or None,
            prompt_start=None,
            trust_project=task.trust_project or None,
            checks=convert(task.checks, Checks) if task.checks else None,
            budget=convert(task.budget, Budget) if task.budget else None,
        )


SpawnerState = Literal["running", "silent"]


class Spawner(fleet.Spawner, RecordShape, frozen=True, kw_only=True):
    """A process that starts workers; its state is derived by the database's clock."""

    state: SpawnerState
    backend: str
    host: str
    max_workers: int
    started_at: datetime


class Worker(models.Worker, RecordShape, frozen=True, kw_only=True):
    """A process that runs jobs; its state is derived by the database's clock."""

    state: WorkerState
    resources: Resources
    free: Resources
    jobs: list[AttemptRef]  # type: ignore[assignment]

    @classmethod
    def of(cls, worker: WorkerRow) -> Worker:
        """Make the shape of a record. That it feeds a job's stdin is left out: each registered worker does."""
        return cls.from_record(
            worker,
            capabilities=[name for name in worker.capabilities if name != STDIN],
            resources=Resources.from_record(worker.resources),
            free=Resources.from_record(worker.free),
            jobs=[attempt_ref(key) for key in worker.jobs],
        )


def job_id(task_id: int, job: int) -> str:
    """Return the public id of a job."""
    return f"task-{task_id}/{job}"


def attempt_ref(key: model.AttemptKey) -> AttemptRef:
    """Return the public form of an attempt."""
    return AttemptRef(job_id=job_id(key[0], key[1]), attempt=key[2])


def or_unset(value: Any) -> Any:
    """Return UNSET for None, so that the member is left out."""
    return UNSET if value is None else value
