"""Rows as frozen records; made from rows here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson

from db.actor import Actor

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
Outcome = Literal["succeeded", "failed", "cancelled", "released"]
Key = tuple[int, int]
"""Task id and job index."""
AttemptKey = tuple[int, int, int]
"""Task id, job index and attempt."""


def _json(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


@dataclass(frozen=True, slots=True)
class Resources:
    """Cores, bytes and GPUs that a worker has or a job needs."""

    cpu: float = 0.0
    memory: int = 0
    gpu: float = 0.0


@dataclass(frozen=True, slots=True)
class NewTask:
    """What ``create`` stores."""

    prompt: str
    agent: str
    agent_args: Any
    workers: int
    requires: tuple[str, ...]
    resources: Resources
    priority: int
    retries: int
    timeout_seconds: float | None
    start_within_seconds: float | None
    """Longest wait of a job for its first claim."""
    environment: Mapping[str, str]
    sealed_environment: str | None
    """Its ciphertext, which is stored in its place."""
    labels: Mapping[str, str]
    workspace: Any
    pod: Mapping[str, Any] | None
    """Image and node selector: only a pod made for one of its jobs can run it."""
    on_failure: str
    idempotency_key: str | None
    digest: bytes
    base_file: str | None = None
    """The file with the commits it starts from."""
    actor: Actor | None = None
    trust_project: bool = False
    """Whether the repository's own agent settings count."""


@dataclass(frozen=True, slots=True)
class JobPod:
    """The pod that is made for a queued job, and what keeps it from running."""

    name: str
    state: str
    reason: str | None
    message: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> JobPod | None:
        """Make one from a row of ado.jobs with the columns of its pod; None when it has no pod."""
        if row.get("pod_name") is None:
            return None
        return cls(row["pod_name"], row["pod_state"], row["pod_reason"], row["pod_message"])


@dataclass(frozen=True, slots=True)
class Job:
    """One claimable unit of a task, with its current or last attempt."""

    task_id: int
    job: int
    status: Status
    attempt: int
    finished_attempt: int
    worker_id: str | None
    last_batch: int
    output_bytes: int
    dropped_bytes: int
    exit_code: int | None
    reason: str | None
    message: str | None
    result: Any
    usage: Any
    stop_reason: str | None
    retry_at: datetime | None
    """Until when a queued job waits before its next attempt."""
    started_at: datetime | None
    finished_at: datetime | None
    pod: JobPod | None = None
    """The pod that is to run it, while it is queued."""
    left_out_bytes: int | None = None
    """Size of a result that was not read because it is too large for the answer."""
    credential: bytes | None = None
    """Digest of the credential with which the last attempt writes; None: its worker's token does."""

    @classmethod
    def created(cls, task_id: int, job: int) -> Job:
        """Return a job as it is the moment its task is stored."""
        return cls(
            task_id=task_id,
            job=job,
            status="queued",
            attempt=0,
            finished_attempt=0,
            worker_id=None,
            last_batch=0,
            output_bytes=0,
            dropped_bytes=0,
            exit_code=None,
            reason=None,
            message=None,
            result=None,
            usage=None,
            stop_reason=None,
            retry_at=None,
            started_at=None,
            finished_at=None,
        )

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Job:
        """Make one from a row of ado.jobs."""
        return cls(
            task_id=row["task_id"],
            job=row["job"],
            status=row["status"],
            attempt=row["attempt"],
            finished_attempt=row["finished_attempt"],
            worker_id=row["worker_id"],
            last_batch=row["last_batch"],
            output_bytes=row["output_bytes"],
            dropped_bytes=row["dropped_bytes"],
            exit_code=row["exit_code"],
            reason=row["reason"],
            message=row["message"],
            result=_json(row["result"]),
            usage=_json(row["usage"]),
            stop_reason=row["stop_reason"],
            retry_at=row.get("retry_at"),
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            pod=JobPod.of(row),
            left_out_bytes=row.get("left_out_bytes"),
            credential=row.get("credential_digest"),
        )


@dataclass(frozen=True, slots=True)
class Task:
    """A task with its jobs, and the names (never the values) of its environment."""

    task_id: int
    status: Status
    reason: str | None
    message: str | None
    failed_job: int | None
    """The job that failed first, by its place in the log."""
    prompt: str
    agent: str
    agent_args: Any
    workers: int
    requires: Sequence[str]
    resources: Resources
    priority: int
    retries: int
    timeout_seconds: float | None
    start_within_seconds: float | None
    start_by: datetime | None
    """When jobs that nobody has claimed fail."""
    labels: Mapping[str, str]
    on_failure: str
    env_names: Sequence[str]
    version: int
    last_seq: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    jobs: tuple[Job, ...]
    created_by: str | None = None
    """The name of the user or service."""
    trust_project: bool = False
    quota: str | None = None
    """Why the limits of its user let none of its jobs start."""
    prompt_cut: bool = False
    """Whether ``prompt`` is only its beginning."""

    @classmethod
    def created(cls, task_id: int, at: datetime, start_by: datetime | None, new: NewTask) -> Task:
        """Return a task as it is the moment it is stored."""
        return cls(
            task_id=task_id,
            status="queued",
            reason=None,
            message=None,
            failed_job=None,
            prompt=new.prompt,
            agent=new.agent,
            agent_args=new.agent_args,
            workers=new.workers,
            requires=list(new.requires),
            resources=new.resources,
            priority=new.priority,
            retries=new.retries,
            timeout_seconds=new.timeout_seconds,
            start_within_seconds=new.start_within_seconds,
            start_by=start_by,
            labels=new.labels,
            on_failure=new.on_failure,
            env_names=sorted(new.environment),
            version=1,
            last_seq=1,
            created_at=at,
            started_at=None,
            finished_at=None,
            cancel_requested_at=None,
            jobs=tuple(Job.created(task_id, job) for job in range(new.workers)),
            created_by=new.actor.name if new.actor else None,
            trust_project=new.trust_project,
        )

    @classmethod
    def of(cls, row: Mapping[str, Any], jobs: Sequence[Job]) -> Task:
        """Make one from a row of get_task or list_tasks and its jobs."""
        return cls(
            task_id=row["task_id"],
            status=row["status"],
            reason=row["reason"],
            message=row["message"],
            failed_job=row["failed_job"],
            prompt=row["prompt"],
            agent=row["agent"],
            agent_args=_json(row["agent_args"]),
            workers=row["workers"],
            requires=row["requires"],
            resources=Resources(row["cpu"], row["memory"], row["gpu"]),
            priority=row["priority"],
            retries=row["retries"],
            timeout_seconds=row["timeout_seconds"],
            start_within_seconds=row["start_within_seconds"],
            start_by=row["start_by"],
            labels=orjson.loads(row["labels"]),
            on_failure=row["on_failure"],
            env_names=row["env_names"],
            version=row["version"],
            last_seq=row["last_seq"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            cancel_requested_at=row["cancel_requested_at"],
            jobs=tuple(jobs),
            prompt_cut=bool(row.get("prompt_cut")),
            trust_project=row["trust_project"],
            created_by=row["creator_name"],
            quota=row.get("quota"),
        )


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """What a worker is given; the only place where environment values leave the database."""

    task_id: int
    job: int
    attempt: int
    prompt: str
    agent: str
    agent_args: Any
    requires: Sequence[str]
    environment: Mapping[str, str]
    sealed_environment: str | None
    """The ciphertext, where it is stored encrypted; ``environment`` is empty then."""
    workers: int
    timeout_seconds: float | None
    workspace: Any
    token: str
    """For the job's own calls; the database has its digest alone."""
    credential: str | None
    """For the worker's calls on behalf of this attempt; the database has its digest alone."""
    trust_project: bool

    @classmethod
    def of(cls, row: Mapping[str, Any], token: str, credential: str | None) -> ClaimedJob:
        """Make one from a row of claim_jobs and the secrets whose digests the row has."""
        return cls(
            task_id=row["task_id"],
            job=row["job"],
            attempt=row["attempt"],
            prompt=row["prompt"],
            agent=row["agent"],
            agent_args=_json(row["agent_args"]),
            requires=row["requires"],
            environment=_json(row["environment"]) or {},
            sealed_environment=row["sealed"],
            workers=row["workers"],
            timeout_seconds=row["timeout_seconds"],
            workspace=_json(row["workspace"]),
            token=token,
            credential=credential,
            trust_project=row["trust_project"],
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """Jobs in the queue that match the same workers."""

    needs: frozenset[str]
    resources: Resources
    jobs: int


@dataclass(frozen=True, slots=True)
class Event:
    """One row of a log: ``data`` for output, ``body`` (JSON text) for everything else."""

    task_id: int
    seq: int
    job: int | None
    attempt: int | None
    type: str
    stream: str | None
    at: datetime
    stored_at: datetime
    data: bytes | None
    body: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Event:
        """Make one from a row of page_events."""
        return cls(
            row["task_id"],
            row["seq"],
            row["job"],
            row["attempt"],
            row["type"],
            row["stream"],
            row["at"],
            row["stored_at"],
            row["data"],
            row["body"],
        )


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker with its derived state and what it holds."""

    worker_id: str
    state: str
    capabilities: Sequence[str]
    resources: Resources
    free: Resources
    slots: int
    running_jobs: int
    labels: Mapping[str, str]
    version: str | None
    pid: int | None
    host: str | None
    backend: str | None
    requested_at: datetime
    started_at: datetime | None
    last_heartbeat_at: datetime | None
    idle_since: datetime
    problem: str | None
    """Why it takes no jobs, as its last heartbeat said; None while it does."""
    jobs: tuple[AttemptKey, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any], jobs: Sequence[AttemptKey] = ()) -> Worker:
        """Make one from a row of ``list_workers``."""
        labels = row["labels"]
        return cls(
            worker_id=row["worker_id"],
            state=row["state"],
            capabilities=row["capabilities"],
            resources=Resources(row["cpu"], row["memory"], row["gpu"]),
            free=Resources(row["free_cpu"], row["free_memory"], row["free_gpu"]),
            slots=row["slots"],
            running_jobs=row["running_jobs"],
            labels=orjson.loads(labels) if isinstance(labels, str) else labels,
            version=row["version"],
            pid=row["pid"],
            host=row["host"],
            backend=row["backend"],
            requested_at=row["requested_at"],
            started_at=row["started_at"],
            last_heartbeat_at=row["last_heartbeat_at"],
            idle_since=row["idle_since"],
            problem=row["problem"],
            jobs=tuple(jobs),
        )
