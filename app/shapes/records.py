"""The shapes on the wire: camelCase names, ISO 8601 times with a zone, absent members left out.

Tasks, jobs and workers as programs see them. They are made from the records of ``db.model`` here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, Self

from msgspec import UNSET, Meta, Struct, UnsetType, convert
from msgspec.structs import fields

from app.core.approvals import Approval, approval_in
from app.core.capabilities import NO_NETWORK, STDIN
from app.core.reasons import POD_REASONS, PodReason, Reason
from db import model
from db.model import Status
from db.workers import WorkerRow

_MOST = 2**60
Amount = Annotated[float, Meta(ge=0, le=_MOST)]
WorkerState = Literal["starting", "idle", "busy", "suspect", "draining", "dead", "stopped"]


class Wire(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Base of every shape: camelCase on the wire."""

    @classmethod
    def from_record(cls, record: object, **members: Any) -> Self:
        """Copy a record's attributes that have the names of members; ``members`` are those that differ.

        An attribute that is None is left out where the member may be absent.
        """
        for name, may_be_absent in _members(cls):
            if name not in members:
                value = getattr(record, name)
                if value is not None or not may_be_absent:
                    members[name] = value
        return cls(**members)


@cache
def _members(shape: type[Wire]) -> list[tuple[str, bool]]:
    """Return the names of a shape's members, and whether each may be absent."""
    return [(member.name, member.default is UNSET) for member in fields(shape)]


class Resources(Wire, omit_defaults=False):
    """``cpu`` in cores, ``memory`` in bytes, ``gpu`` as a count."""

    cpu: Amount = 0
    memory: Amount = 0
    gpu: Amount = 0

    def to_model(self) -> model.ResourceAmounts:
        """Return the record of the database layer."""
        return model.ResourceAmounts(float(self.cpu), int(self.memory), float(self.gpu))

    @classmethod
    def of(cls, resources: model.ResourceAmounts) -> Resources:
        """Make the shape of a record."""
        return cls.from_record(resources)


class AttemptRef(Wire):
    """An attempt: a job id and the attempt's number."""

    job_id: str
    attempt: int


class JobPod(Wire):
    """The pod that will run a queued job, the reason why it does not run yet, and the next step."""

    name: str
    state: str
    reason: PodReason | UnsetType = UNSET
    message: str | UnsetType = UNSET
    hint: str | UnsetType = UNSET

    @classmethod
    def of(cls, pod: model.JobPodRow) -> JobPod:
        """Make the shape of a record."""
        if pod.reason is None:
            return cls(name=pod.name, state=pod.state)
        return cls.from_record(pod, message=pod.message or "", hint=POD_REASONS[pod.reason][1])


class Usage(Wire):
    """What an AI agent used in an attempt, with the cost in US dollars. A figure that it did not report is absent."""

    input_tokens: float | UnsetType = UNSET
    output_tokens: float | UnsetType = UNSET
    cache_read_tokens: float | UnsetType = UNSET
    cache_write_tokens: float | UnsetType = UNSET
    cost_usd: float | UnsetType = UNSET
    turns: float | UnsetType = UNSET
    """Runs of the agent from a prompt or message to its last word; only of tasks with a budget."""


def amounts(usage: Any) -> dict[str, float] | None:
    """Return the members of a usage that are amounts, for agents report anything; None if it is no object."""
    if not isinstance(usage, Mapping):
        return None
    return {
        name: value
        for name, value in usage.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST
    }


class Result(Wire):
    """The final text of an AI agent; with ``cut`` it is only a part of that text."""

    text: str | UnsetType = UNSET
    cut: bool | UnsetType = UNSET


class Job(Wire):
    """One claimable unit of a task."""

    job_id: str
    job: int
    agent: str
    status: Status
    attempt: int
    worker_id: str | UnsetType = UNSET
    exit_code: int | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET
    message: str | UnsetType = UNSET
    result: Result | UnsetType = UNSET
    """Not in lists."""
    result_bytes: int | UnsetType = UNSET
    """Size of a result that was left out because the answer would be too large: tasks.get with ``job`` has it."""
    usage: Usage | UnsetType = UNSET
    dropped_bytes: int | UnsetType = UNSET
    """Bytes that the last attempt wrote beyond the limit and that were not stored."""
    retry_at: datetime | UnsetType = UNSET
    """When a queued job may start its next attempt."""
    pause_requested_at: datetime | UnsetType = UNSET
    """Since when somebody wants it paused; a running job is paused once its attempt has ended."""
    started_at: datetime | UnsetType = UNSET
    finished_at: datetime | UnsetType = UNSET
    pod: JobPod | UnsetType = UNSET

    @classmethod
    def of(cls, job: model.JobRow) -> Job:
        """Make the shape of a record."""
        return cls.from_record(
            job,
            job_id=job_id(job.task_id, job.job),
            result_bytes=or_unset(job.left_out_bytes),
            usage=or_unset(amounts(job.usage)),
            dropped_bytes=job.dropped_bytes or UNSET,
            pod=JobPod.of(job.pod) if job.pod else UNSET,
        )


class WorkerObstacle(Wire):
    """What keeps a live worker from a queued job: the most basic requirement that is not met, and what would help."""

    worker_id: str
    state: WorkerState
    help: str
    unmet: str | UnsetType = UNSET
    """Absent: nothing keeps it."""


class Wait(Wire, omit_defaults=False):
    """Why a task waits, in one line, and what keeps each live worker from the job that may start first."""

    why: str
    """Empty: nothing is in the way."""
    workers: list[WorkerObstacle]
    """Not all of them, if they are too many for an answer."""
    reason: str | UnsetType = UNSET


Command = Annotated[str, Meta(min_length=1, max_length=10_000, pattern=r"\S")]
"""A command line for ``/bin/sh``."""


class Checks(Wire, omit_defaults=False):
    """Commands around the agent: ``setup`` before it, and those that decide after its turn whether its work is done.

    A command that takes longer than ``timeoutSeconds`` is ended, and has failed.
    """

    setup: Command | None = None
    commands: Annotated[list[Command], Meta(max_length=20)] = []
    tries: Annotated[int, Meta(ge=1, le=100)] = 3
    """How often an attempt may run the checks; a check that fails before the last time goes back to the agent."""
    timeout_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 600.0


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


class Task(Wire, omit_defaults=False):
    """A task with its jobs."""

    task_id: str
    status: Status
    prompt: str
    agent: str
    """The agent of its jobs; the first one, if they have several."""
    workers: int
    requires: list[str]
    network: Literal["all", "none"]
    stdin: bool
    """Whether its jobs read what ``tasks.input`` sends."""
    resources: Resources
    priority: int
    retries: int
    on_failure: str
    labels: dict[str, str]
    env_names: list[str]
    version: int
    last_seq: int
    created_at: datetime
    jobs: list[Job]
    agents: list[str] | UnsetType = UNSET
    """The agents of its jobs in turn, if they differ."""
    picked_job: int | UnsetType = UNSET
    """The job whose result a person has picked with ``tasks.pick``."""
    prompt_cut: bool | UnsetType = UNSET
    """Whether ``prompt`` is only its beginning, as in a list."""
    prompt_start: str | UnsetType = UNSET
    """The first line of the prompt that is not blank, up to 200 characters: only in lists."""
    trust_project: bool | UnsetType = UNSET
    checks: Checks | UnsetType = UNSET
    approve: Approval | UnsetType = UNSET
    """What its agent may do without asking a person; absent: what its worker allows."""
    budget: Budget | UnsetType = UNSET
    created_by: str | UnsetType = UNSET
    """The name of the user or service who created it."""
    after: list[str] | UnsetType = UNSET
    """Tasks after which it starts; not in lists."""
    after_any_end: bool | UnsetType = UNSET
    """Whether it starts however those end."""
    waits_for: list[str] | UnsetType = UNSET
    """Those of them for which it still waits; in lists at most ten."""
    quota: str | UnsetType = UNSET
    """Why the limits of its user keep all of its queued jobs from starting now."""
    wait: Wait | UnsetType = UNSET
    """Why its jobs wait: only of tasks.get with ``explain``."""
    reason: Reason | UnsetType = UNSET
    message: str | UnsetType = UNSET
    failed_job: int | UnsetType = UNSET
    """The job that failed first."""
    agent_args: Any = UNSET
    timeout_seconds: float | UnsetType = UNSET
    start_within_seconds: float | UnsetType = UNSET
    start_by: datetime | UnsetType = UNSET
    """When jobs that nobody has claimed by then fail with ``not_started``."""
    started_at: datetime | UnsetType = UNSET
    finished_at: datetime | UnsetType = UNSET
    cancel_requested_at: datetime | UnsetType = UNSET

    @classmethod
    def of(cls, task: model.TaskRow) -> Task:
        """Make the shape of a record."""
        return cls.from_record(
            task,
            task_id=f"task-{task.task_id}",
            network="none" if NO_NETWORK in task.requires else "all",
            stdin=STDIN in task.requires,
            approve=or_unset(approval_in(task.requires)),
            resources=Resources.of(task.resources),
            jobs=[Job.of(job) for job in task.jobs],
            wait=UNSET,
            prompt_cut=task.prompt_cut or UNSET,
            prompt_start=UNSET,
            trust_project=task.trust_project or UNSET,
            checks=convert(task.checks, Checks) if task.checks else UNSET,
            budget=convert(task.budget, Budget) if task.budget else UNSET,
        )


SpawnerState = Literal["running", "silent"]


class Spawner(Wire, omit_defaults=False):
    """A process that starts workers; its state is derived by the database's clock."""

    spawner_id: str
    state: SpawnerState
    backend: str
    host: str
    capabilities: list[str]
    max_workers: int
    started_at: datetime
    last_heartbeat_at: datetime
    problem: str | UnsetType = UNSET


class Worker(Wire, omit_defaults=False):
    """A process that runs jobs; its state is derived by the database's clock."""

    worker_id: str
    state: WorkerState
    capabilities: list[str]
    resources: Resources
    free: Resources
    slots: int
    jobs: list[AttemptRef]
    labels: dict[str, str]
    version: str | UnsetType = UNSET
    pid: int | UnsetType = UNSET
    host: str | UnsetType = UNSET
    backend: str | UnsetType = UNSET
    problem: str | UnsetType = UNSET
    last_heartbeat_at: datetime | UnsetType = UNSET
    started_at: datetime | UnsetType = UNSET

    @classmethod
    def of(cls, worker: WorkerRow) -> Worker:
        """Make the shape of a record. That it feeds a job's stdin is left out: each registered worker does."""
        return cls.from_record(
            worker,
            capabilities=[name for name in worker.capabilities if name != STDIN],
            resources=Resources.of(worker.resources),
            free=Resources.of(worker.free),
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
