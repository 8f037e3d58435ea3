"""The shapes on the wire: camelCase names, ISO 8601 times with zone, absent members left out.

Task, Job, ClaimedJob and Worker as programs see them; made from ``db.model`` here and nowhere else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from app.core.capabilities import NO_NETWORK, STDIN
from app.core.reasons import POD_REASONS, PodReason, Reason
from db import model
from db.model import Status

Amount = Annotated[float, Meta(ge=0, le=2**60)]
WorkerState = Literal["starting", "idle", "busy", "suspect", "draining", "dead", "stopped"]


class Wire(Struct, rename="camel", omit_defaults=True, kw_only=True):
    """Base of every shape: camelCase on the wire."""


class Resources(Wire, omit_defaults=False):
    """``cpu`` in cores, ``memory`` in bytes, ``gpu`` as a count."""

    cpu: Amount = 0
    memory: Amount = 0
    gpu: Amount = 0

    def to_model(self) -> model.Resources:
        """Return the record of the database layer."""
        return model.Resources(float(self.cpu), int(self.memory), float(self.gpu))

    @classmethod
    def of(cls, resources: model.Resources) -> Resources:
        """Make the shape."""
        return cls(cpu=resources.cpu, memory=resources.memory, gpu=resources.gpu)


class AttemptRef(Wire):
    """An attempt: a job id and the number of its try."""

    job_id: str
    attempt: int


class JobPod(Wire):
    """The pod that is to run a queued job: what keeps it from running, and the next step."""

    name: str
    state: str
    reason: PodReason | UnsetType = UNSET
    message: str | UnsetType = UNSET
    hint: str | UnsetType = UNSET

    @classmethod
    def of(cls, pod: model.JobPod) -> JobPod:
        """Make the shape."""
        made = cls(name=pod.name, state=pod.state)
        if pod.reason is not None:
            made.reason, made.message, made.hint = pod.reason, pod.message or "", POD_REASONS[pod.reason][1]
        return made


class Usage(Wire):
    """What an AI agent used in an attempt; what it does not say is absent. Dollars for the cost."""

    input_tokens: float | UnsetType = UNSET
    output_tokens: float | UnsetType = UNSET
    cache_read_tokens: float | UnsetType = UNSET
    cache_write_tokens: float | UnsetType = UNSET
    cost_usd: float | UnsetType = UNSET


class Result(Wire):
    """What an AI agent said at its end; ``cut`` says that the text is only a part of it."""

    text: str | UnsetType = UNSET
    cut: bool | UnsetType = UNSET


class Job(Wire):
    """One claimable unit of a task."""

    job_id: str
    job: int
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
    """What the last attempt wrote beyond the limit, which was not stored."""
    retry_at: datetime | UnsetType = UNSET
    """Until when a queued job waits before its next attempt."""
    started_at: datetime | UnsetType = UNSET
    finished_at: datetime | UnsetType = UNSET
    pod: JobPod | UnsetType = UNSET

    @classmethod
    def of(cls, job: model.Job) -> Job:
        """Make the shape."""
        return cls(
            job_id=job_id(job.task_id, job.job),
            job=job.job,
            status=job.status,
            attempt=job.attempt,
            worker_id=or_unset(job.worker_id),
            exit_code=or_unset(job.exit_code),
            reason=or_unset(job.reason),
            message=or_unset(job.message),
            result=or_unset(job.result),
            result_bytes=or_unset(job.left_out_bytes),
            usage=or_unset(job.usage),
            dropped_bytes=or_unset(job.dropped_bytes or None),
            retry_at=or_unset(job.retry_at),
            started_at=or_unset(job.started_at),
            finished_at=or_unset(job.finished_at),
            pod=JobPod.of(job.pod) if job.pod else UNSET,
        )


class Task(Wire, omit_defaults=False):
    """What a person asked for, with its jobs."""

    task_id: str
    status: Status
    prompt: str
    agent: str
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
    prompt_cut: bool | UnsetType = UNSET
    """Whether ``prompt`` is only its beginning, as in a list."""
    trust_project: bool | UnsetType = UNSET
    created_by: str | UnsetType = UNSET
    """The name of the user or service who created it."""
    quota: str | UnsetType = UNSET
    """Why the limits of its user let none of its queued jobs start now."""
    reason: Reason | UnsetType = UNSET
    message: str | UnsetType = UNSET
    failed_job: int | UnsetType = UNSET
    """The job that failed first."""
    agent_args: Any = UNSET
    timeout_seconds: float | UnsetType = UNSET
    start_within_seconds: float | UnsetType = UNSET
    start_by: datetime | UnsetType = UNSET
    """When jobs that nobody has claimed fail with ``not_started``."""
    started_at: datetime | UnsetType = UNSET
    finished_at: datetime | UnsetType = UNSET
    cancel_requested_at: datetime | UnsetType = UNSET

    @classmethod
    def of(cls, task: model.Task) -> Task:
        """Make the shape."""
        return cls(
            task_id=f"task-{task.task_id}",
            status=task.status,
            prompt=task.prompt,
            agent=task.agent,
            workers=task.workers,
            requires=list(task.requires),
            network="none" if NO_NETWORK in task.requires else "all",
            stdin=STDIN in task.requires,
            resources=Resources.of(task.resources),
            priority=task.priority,
            retries=task.retries,
            on_failure=task.on_failure,
            labels=dict(task.labels),
            env_names=list(task.env_names),
            version=task.version,
            last_seq=task.last_seq,
            created_at=task.created_at,
            jobs=[Job.of(job) for job in task.jobs],
            created_by=or_unset(task.created_by),
            quota=or_unset(task.quota),
            prompt_cut=or_unset(task.prompt_cut or None),
            trust_project=or_unset(task.trust_project or None),
            reason=or_unset(task.reason),
            message=or_unset(task.message),
            failed_job=or_unset(task.failed_job),
            agent_args=or_unset(task.agent_args),
            timeout_seconds=or_unset(task.timeout_seconds),
            start_within_seconds=or_unset(task.start_within_seconds),
            start_by=or_unset(task.start_by),
            started_at=or_unset(task.started_at),
            finished_at=or_unset(task.finished_at),
            cancel_requested_at=or_unset(task.cancel_requested_at),
        )


class ClaimedJob(Wire):
    """A job as its worker gets it, with the environment's values and a token for the job's own calls.

    ``credential``, where the claim asked for it, goes with every append and finish of this attempt, and is the token of
    its files.
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
    credential: str | UnsetType = UNSET
    timeout_seconds: float | UnsetType = UNSET
    workspace: Any = UNSET
    trust_project: bool | UnsetType = UNSET

    @classmethod
    def of(cls, job: model.ClaimedJob) -> ClaimedJob:
        """Make the shape."""
        return cls(
            job_id=job_id(job.task_id, job.job),
            task_id=f"task-{job.task_id}",
            job=job.job,
            attempt=job.attempt,
            prompt=job.prompt,
            agent=job.agent,
            agent_args=job.agent_args,
            requires=list(job.requires),
            env=dict(job.environment),
            workers=job.workers,
            token=job.token,
            credential=or_unset(job.credential),
            timeout_seconds=or_unset(job.timeout_seconds),
            workspace=or_unset(job.workspace),
            trust_project=or_unset(job.trust_project or None),
        )


SpawnerState = Literal["running", "silent"]


class Spawner(Wire, omit_defaults=False):
    """A process that starts workers, with its state as the database's clock sees it."""

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
    """A process that runs jobs, with its state as the database's clock sees it."""

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
    def of(cls, worker: model.Worker) -> Worker:
        """Make the shape."""
        return cls(
            worker_id=worker.worker_id,
            state=worker.state,  # type: ignore[arg-type]
            capabilities=list(worker.capabilities),
            resources=Resources.of(worker.resources),
            free=Resources.of(worker.free),
            slots=worker.slots,
            jobs=[attempt_ref(key) for key in worker.jobs],
            labels=dict(worker.labels),
            version=or_unset(worker.version),
            pid=or_unset(worker.pid),
            host=or_unset(worker.host),
            backend=or_unset(worker.backend),
            problem=or_unset(worker.problem),
            last_heartbeat_at=or_unset(worker.last_heartbeat_at),
            started_at=or_unset(worker.started_at),
        )


def job_id(task_id: int, job: int) -> str:
    """Return the public id of a job."""
    return f"task-{task_id}/{job}"


def attempt_ref(key: model.AttemptKey) -> AttemptRef:
    """Return the public form of an attempt."""
    return AttemptRef(job_id=job_id(key[0], key[1]), attempt=key[2])


def or_unset(value: Any) -> Any:
    """Return a value for an optional member; None is left out."""
    return UNSET if value is None else value
