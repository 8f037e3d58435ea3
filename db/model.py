"""Rows as frozen records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Literal, TypeVar

import orjson

from db.actor import Actor

Status = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
Outcome = Literal["succeeded", "failed", "cancelled", "released"]
AgentHealth = Literal["well", "ill", "unknown"]
"""What the end of an attempt says of its agent: it has worked, it failed before it did anything, or nothing."""
JobCommand = Literal["cancel", "pause"]
"""What a worker must do with a running job: end it, or hand it back."""
Key = tuple[int, int]
"""Task id and job index."""
AttemptKey = tuple[int, int, int]
"""Task id, job index and attempt."""


T = TypeVar("T")


def json_of(text: str | None) -> Any:
    """Return the value of a column with JSON text."""
    return None if text is None else orjson.loads(text)


def _names(cls: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = cls.__match_args__  # dataclasses.fields is ten times slower
    return names


def record_of(cls: type[T], row: Mapping[str, Any], **values: Any) -> T:
    """Make a record: each field is in ``values``, or is the row's column of the same name."""
    return cls(*[values[name] if name in values else row[name] for name in _names(cls)])


def parameters_of(record: Any, **values: Any) -> dict[str, Any]:
    """Return a record's fields as the parameters of a statement; ``values`` replace fields and add others."""
    return {name: getattr(record, name) for name in _names(record)} | values


@dataclass(frozen=True, slots=True)
class ResourceAmounts:
    """Cores, bytes and GPUs that a worker has or a job needs."""

    cpu: float = 0.0
    memory: int = 0
    gpu: float = 0.0


@dataclass(frozen=True, slots=True)
class HeldAttempt:
    """An attempt and the worker that writes for it."""

    task_id: int
    job: int
    attempt: int
    worker_id: str
    credential: bytes | None = None
    """Digest of the credential that came with the write."""


@dataclass(frozen=True, slots=True)
class ScheduledTime:
    """The time of a schedule for which a task is created."""

    schedule_id: int
    due_at: datetime
    """The schedule's next time as it was read; the task is created only while it is still the next one."""
    scheduled_at: datetime
    """The time that runs: ``due_at``, or a later one where times were missed."""
    next_at: datetime
    """The next time after that."""
    missed_times: int = 0


@dataclass(frozen=True, slots=True)
class NewTask:
    """What ``create`` stores."""

    prompt: str
    agent: str
    agent_args: Any
    workers: int
    requires: tuple[str, ...]
    resources: ResourceAmounts
    priority: int
    retries: int
    timeout_seconds: float | None
    start_within_seconds: float | None
    """Longest wait of a job for its first claim."""
    environment: Mapping[str, str]
    sealed_environment: str | None
    """The ciphertext, stored instead of ``environment``."""
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
    checks: Any = None
    """Its setup and checks as tasks.create takes them."""
    budget: Any = None
    """Its budget as tasks.create takes it."""
    schedule: ScheduledTime | None = None
    predecessors: tuple[int, ...] = ()
    """The tasks after which it starts."""
    any_end: bool = False
    """Whether it starts however those end."""
    agents: tuple[str, ...] = ()
    """The agents of its jobs in turn, if they differ; ``agent`` is the first of them."""

    def agent_of(self, job: int) -> str:
        """Return the agent of a job, as ``ado.job_agent`` does."""
        return self.agents[job % len(self.agents)] if self.agents else self.agent


@dataclass(frozen=True, slots=True)
class JobPodRow:
    """The pod of a queued job, and what keeps it from running."""

    name: str
    state: str
    reason: str | None
    message: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> JobPodRow | None:
        """Make one from a row of ado.jobs with the columns of its pod; None if it has no pod."""
        if row.get("pod_name") is None:
            return None
        return cls(row["pod_name"], row["pod_state"], row["pod_reason"], row["pod_message"])


@dataclass(frozen=True, slots=True)
class JobRow:
    """One claimable unit of a task, with its current or last attempt."""

    task_id: int
    job: int
    agent: str
    status: Status = "queued"
    attempt: int = 0
    finished_attempt: int = 0
    worker_id: str | None = None
    last_batch: int = 0
    output_bytes: int = 0
    dropped_bytes: int = 0
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    result: Any = None
    usage: Any = None
    stop_reason: str | None = None
    pause_requested_at: datetime | None = None
    """Since when somebody wants it paused; a running job is paused once its attempt has ended."""
    retry_at: datetime | None = None
    """Until when a queued job waits before its next attempt."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    pod: JobPodRow | None = None
    """The pod that will run it, while it is queued."""
    left_out_bytes: int | None = None
    """Size of a result that was not read because it is too large for the answer."""
    credential: bytes | None = None
    """Digest of the credential with which the last attempt writes; None: its worker's token does."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> JobRow:
        """Make one from a row of ado.jobs."""
        return record_of(
            cls,
            row,
            result=json_of(row["result"]),
            usage=json_of(row["usage"]),
            retry_at=row.get("retry_at"),
            pod=JobPodRow.of(row),
            left_out_bytes=row.get("left_out_bytes"),
            credential=row.get("credential_digest"),
        )


@dataclass(frozen=True, slots=True)
class TaskRow:
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
    resources: ResourceAmounts
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
    jobs: tuple[JobRow, ...]
    created_by: str | None = None
    """The name of the user or service."""
    trust_project: bool = False
    checks: Any = None
    budget: Any = None
    quota: str | None = None
    """Why the limits of its user let none of its jobs start."""
    agents: Sequence[str] | None = None
    """The agents of its jobs in turn; None: all have the same."""
    picked_job: int | None = None
    """The job whose result a person has picked."""
    prompt_cut: bool = False
    """Whether ``prompt`` is only its beginning."""
    after: Sequence[str] | None = None
    """Public ids of the tasks after which it starts; not in lists."""
    after_any_end: bool | None = None
    waits_for: Sequence[str] | None = None
    """Those of them for which it still waits; in lists at most ten."""

    @classmethod
    def created(cls, task_id: int, at: datetime, start_by: datetime | None, new: NewTask) -> TaskRow:
        """Return a task as it is the moment it is stored."""
        same = {name: getattr(new, name) for name in _SAME}
        return cls(
            **{**same, "requires": list(new.requires), "agents": list(new.agents) or None},
            task_id=task_id,
            status="queued",
            reason=None,
            message=None,
            failed_job=None,
            start_by=start_by,
            env_names=sorted(new.environment),
            version=1,
            last_seq=1,
            created_at=at,
            started_at=None,
            finished_at=None,
            cancel_requested_at=None,
            jobs=tuple(JobRow(task_id, job, new.agent_of(job)) for job in range(new.workers)),
            created_by=new.actor.name if new.actor else None,
        )

    @classmethod
    def of(cls, row: Mapping[str, Any], jobs: Sequence[JobRow]) -> TaskRow:
        """Make one from a row of get_task or list_tasks and its jobs."""
        return record_of(
            cls,
            row,
            agent_args=json_of(row["agent_args"]),
            checks=json_of(row["checks"]),
            budget=json_of(row["budget"]),
            resources=ResourceAmounts(row["cpu"], row["memory"], row["gpu"]),
            labels=orjson.loads(row["labels"]),
            jobs=tuple(jobs),
            prompt_cut=bool(row.get("prompt_cut")),
            created_by=row["creator_name"],
            quota=row.get("quota"),
            after=row.get("after"),
            after_any_end=row.get("after_any_end"),
            waits_for=row["waits_for"],
        )


_SAME = tuple(name for name in _names(TaskRow) if name in _names(NewTask))


@dataclass(frozen=True, slots=True)
class ClaimedJobRow:
    """A job as its worker gets it; environment values leave the database only here."""

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
    """For the job's own calls; the database has only its digest."""
    credential: str | None
    """For the worker's calls for this attempt; the database has only its digest."""
    trust_project: bool
    messages: int
    """How many messages it has."""
    continues: bool
    """Whether it had ended, and goes on with a message."""
    checks: Any = None
    """Setup and checks as tasks.create takes them."""
    budget: Any = None
    """Its budget as tasks.create takes it."""
    spent: Any = None
    """What earlier attempts have used of the budget."""

    @classmethod
    def of(cls, row: Mapping[str, Any], token: str, credential: str | None) -> ClaimedJobRow:
        """Make one from a row of claim_jobs and the secrets whose digests the row has."""
        return record_of(
            cls,
            row,
            agent_args=json_of(row["agent_args"]),
            environment=json_of(row["environment"]) or {},
            sealed_environment=row["sealed"],
            workspace=json_of(row["workspace"]),
            checks=json_of(row["checks"]),
            budget=json_of(row["budget"]),
            spent=json_of(row["spent"]),
            token=token,
            credential=credential,
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """Jobs in the queue that match the same workers."""

    needs: frozenset[str]
    resources: ResourceAmounts
    jobs: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Demand:
        """Make one from a row of ``ready_demands``."""
        return cls(frozenset(row["needs"]), ResourceAmounts(row["cpu"], row["memory"], row["gpu"]), row["jobs"])


@dataclass(frozen=True, slots=True)
class EventRow:
    """One row of a log: ``data`` for output, ``body`` (JSON text) for its source and for everything else."""

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
    def of(cls, row: Mapping[str, Any]) -> EventRow:
        """Make one from a row of page_events. A page has thousands of rows, so this takes the fast way."""
        return cls(*_EVENT_COLUMNS(row))


_EVENT_COLUMNS = itemgetter(*_names(EventRow))
