"""The events of a task's log as their readers get them: one shape a type, told apart by ``type``.

The log itself is sent as the JSON it was stored with; these shapes say what stands in it, to programs that are
written against ``ado.d.ts`` and to the tests that hold the log to them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from app.core.reasons import PodReason, Reason
from app.shapes.agent_events import AgentSaid
from app.shapes.records import Usage, Worker
from db.model import Status


class LogEvent(Struct, rename="camel", tag_field="type", kw_only=True):
    """What every event carries: ``seq`` counts 1, 2, 3 … per task; ``job`` and ``attempt`` are null for the task's."""

    task_id: str
    seq: int
    job: int | None
    attempt: int | None
    at: datetime
    stored_at: datetime


class CreatedEvent(LogEvent, tag="created"):
    """The task was made."""

    agent: str
    workers: int
    prompt: str
    """Its beginning."""
    by: str | UnsetType = UNSET
    """The user or service who made it."""


class StartedEvent(LogEvent, tag="started"):
    """An attempt began on a worker."""

    worker_id: str


class OutputEvent(LogEvent, tag="output"):
    """What the agent wrote; ``encoding`` is there where the chunk is not wholly UTF-8."""

    stream: Literal["stdout", "stderr"]
    data: str
    encoding: Literal["base64"] | UnsetType = UNSET


class ProgressEvent(LogEvent, tag="progress"):
    """How far the agent says it is."""

    percent: float | UnsetType = UNSET
    message: str | UnsetType = UNSET


class AgentEvent(LogEvent, tag="agent"):
    """Something an agent thought or did, normalised; its own members are told apart by ``event``."""

    variants: ClassVar[Any] = AgentSaid


class RequeuedEvent(LogEvent, tag="requeued"):
    """The job runs again: its worker was lost, or its agent failed and retries are left."""

    reason: Reason
    worker_id: str
    next_attempt: int
    exit_code: int | UnsetType = UNSET
    message: str | UnsetType = UNSET
    dropped_bytes: int | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET


class ReleasedEvent(LogEvent, tag="released"):
    """The worker handed the job back."""

    reason: Reason | UnsetType = UNSET
    message: str | UnsetType = UNSET


class RetriedEvent(LogEvent, tag="retried"):
    """Somebody asked for the failed jobs to run again."""

    jobs: list[int]
    by: str | None = None


class CancelRequestedEvent(LogEvent, tag="cancel_requested"):
    """Somebody asked for the task to end."""

    reason: str | None = None
    by: str | None = None


class PodEvent(LogEvent, tag="pod"):
    """Something is wrong with the job's pod: the cluster's own message, and the next step."""

    reason: PodReason
    message: str
    hint: str
    pod: str


class CheckpointEvent(LogEvent, tag="checkpoint"):
    """The attempt's state was saved."""


class TruncatedEvent(LogEvent, tag="truncated"):
    """The attempt's events have reached the limit: what follows is dropped; ``finished`` says how much it was.

    Output is dropped first, and 1 MiB later every event.
    """

    limit_bytes: int
    dropped_bytes: int
    """What was dropped with this event."""


class DroppedEvent(LogEvent, tag="dropped"):
    """Something that the job wrote could not be stored; the job ran on."""

    bytes: int
    """Its size; 0 where it is not known."""
    reason: str
    """Why: line_too_long, not_json, not_an_event, not_encodable, too_large, or the reason of the server's refusal."""


class InputLostEvent(LogEvent, tag="input_lost"):
    """The attempt could not have its whole input: not all is kept, or its sender is gone; its job fails."""

    lost_bytes: int
    """How many bytes from its beginning on are gone."""


class FinishedEvent(LogEvent, tag="finished"):
    """A job ended for good."""

    outcome: Literal["succeeded", "failed", "cancelled"]
    exit_code: int | UnsetType = UNSET
    reason: Reason | UnsetType | None = UNSET
    message: str | UnsetType | None = UNSET
    usage: Usage | UnsetType = UNSET
    dropped_bytes: int | UnsetType = UNSET
    """What the attempt wrote beyond the limit."""


class SucceededEvent(LogEvent, tag="succeeded"):
    """The task ended: every job succeeded."""


class FailedEvent(LogEvent, tag="failed"):
    """The task ended: a job failed; ``job`` is the first that did."""

    reason: Reason | UnsetType = UNSET
    message: str | UnsetType = UNSET
    exit_code: int | UnsetType = UNSET


class CancelledEvent(LogEvent, tag="cancelled"):
    """The task ended: it was cancelled."""

    reason: str | UnsetType = UNSET
    message: str | UnsetType = UNSET


AnyEvent: TypeAlias = (
    CreatedEvent
    | StartedEvent
    | OutputEvent
    | ProgressEvent
    | AgentEvent
    | RequeuedEvent
    | ReleasedEvent
    | RetriedEvent
    | CancelRequestedEvent
    | PodEvent
    | CheckpointEvent
    | TruncatedEvent
    | DroppedEvent
    | InputLostEvent
    | FinishedEvent
    | SucceededEvent
    | FailedEvent
    | CancelledEvent
)
"""Any event of a log."""


class TaskState(Struct, rename="camel"):
    """A task as ``stream.systemEvents`` tells it."""

    task_id: str
    status: Status
    last_seq: int | UnsetType = UNSET


class Snapshot(Struct, tag_field="type", tag="snapshot"):
    """Workers and open tasks as they are when a subscription begins."""

    workers: list[Worker]
    tasks: list[TaskState]


class TaskChange(Struct, tag_field="type", tag="task"):
    """A task has another state."""

    task: TaskState


class WorkerChange(Struct, tag_field="type", tag="worker"):
    """A worker has another state, or is new."""

    worker: Worker


class WorkerRemoved(Struct, tag_field="type", tag="worker_removed", rename="camel"):
    """A worker is not listed any more."""

    worker_id: str


SystemEvent: TypeAlias = Snapshot | TaskChange | WorkerChange | WorkerRemoved
"""Any item of ``stream.systemEvents``."""
