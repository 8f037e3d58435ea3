"""The shapes of the events in a task's log, one for each value of the member ``type``.

Events are sent as the JSON that was stored. These shapes describe that JSON, for programs written against
``ado.d.ts`` and for the tests that compare the log with them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType, field

from app.core.reasons import PodReason, Reason
from app.shapes.agent_events import AgentSaid
from app.shapes.records import Usage, Worker
from db.model import Status


class LogEvent(Struct, rename="camel", tag_field="type", kw_only=True):
    """What every event carries: ``seq`` counts 1, 2, 3 … per task; the task's own events have no job or attempt."""

    task_id: str
    seq: int
    job: int | None
    attempt: int | None
    at: datetime
    stored_at: datetime


class CreatedEvent(LogEvent, tag="created"):
    """The task was created."""

    agent: str
    workers: int
    prompt: str
    """The beginning of the prompt."""
    agents: list[str] | UnsetType = UNSET
    """The agents of the jobs in turn, if they differ."""
    by: str | UnsetType = UNSET
    """The user or service who created the task."""
    after: list[str] | UnsetType = UNSET
    """Tasks after which it starts."""


class StartedEvent(LogEvent, tag="started"):
    """An attempt began on a worker."""

    worker_id: str


class OutputEvent(LogEvent, tag="output"):
    """A chunk of the agent's output; it has ``encoding`` unless all of it is UTF-8."""

    stream: Literal["stdout", "stderr"]
    data: str
    encoding: Literal["base64"] | UnsetType = UNSET
    source: Literal["setup", "check"] | UnsetType = UNSET
    """What wrote it, on ``stderr``; absent: the agent."""


class ProgressEvent(LogEvent, tag="progress"):
    """The progress that the agent reports."""

    percent: float | UnsetType = UNSET
    message: str | UnsetType = UNSET


class AgentEvent(LogEvent, tag="agent"):
    """A normalised step of an AI agent; the member ``event`` names its kind."""

    variants: ClassVar[Any] = AgentSaid


class RequeuedEvent(LogEvent, tag="requeued"):
    """The job runs again, because its worker was lost, or its agent failed and retries are left."""

    reason: Reason
    worker_id: str
    next_attempt: int
    paused: bool | UnsetType = UNSET
    """Whether it waits until somebody resumes it."""
    exit_code: int | UnsetType = UNSET
    message: str | UnsetType = UNSET
    dropped_bytes: int | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET


class ReleasedEvent(LogEvent, tag="released"):
    """The worker handed the job back."""

    reason: Reason | UnsetType = UNSET
    message: str | UnsetType = UNSET
    paused: bool | UnsetType = UNSET
    """Whether it waits until somebody resumes it."""


class PausedEvent(LogEvent, tag="paused"):
    """Somebody paused the task: its queued jobs wait from now on, running ones once their workers hand them back."""

    reason: str | UnsetType = UNSET
    by: str | UnsetType = UNSET


class ResumedEvent(LogEvent, tag="resumed"):
    """Somebody resumed the task: its paused jobs are queued again."""

    by: str | UnsetType = UNSET


class PickedEvent(LogEvent, tag="picked"):
    """Somebody picked the result of this job among those of the task."""

    by: str | UnsetType = UNSET


class RetriedEvent(LogEvent, tag="retried"):
    """Somebody asked for the failed jobs to run again."""

    jobs: list[int]
    by: str | None = None


class CancelRequestedEvent(LogEvent, tag="cancel_requested"):
    """Somebody asked for the task to end."""

    reason: str | None = None
    by: str | None = None


class PodEvent(LogEvent, tag="pod"):
    """A problem of the job's pod, with the cluster's own message and the next step."""

    reason: PodReason
    message: str
    hint: str
    pod: str


class CheckpointEvent(LogEvent, tag="checkpoint"):
    """The attempt's state was saved."""


class CheckEvent(LogEvent, tag="check"):
    """A check of the task ran; it passed if its exit code is 0."""

    command: str
    exit_code: int
    """128 and the number of a signal that ended it; 124 if it took too long."""
    try_: int = field(name="try")
    """How often the attempt has run the checks by now."""
    seconds: float


class BudgetEvent(LogEvent, tag="budget"):
    """The job has reached a limit of its budget."""

    limit: dict[str, float]
    """The limit, by its name: ``costUsd``, ``tokens`` or ``turns``."""
    spent: dict[str, float]
    """What all attempts of the job have used."""


class RateLimitedEvent(LogEvent, tag="rate_limited"):
    """The model's service has told the agent to wait. The attempt waits, or the job is handed back until then."""

    agent: str
    until: datetime
    seconds: float
    credential: str | UnsetType = UNSET
    """The name of the credential that is limited, if the worker has several for the agent."""


class TruncatedEvent(LogEvent, tag="truncated"):
    """The attempt's events have reached the limit, and later ones are dropped; ``finished`` says how many bytes.

    Output is dropped first, and after another MiB every event.
    """

    limit_bytes: int
    dropped_bytes: int
    """Bytes dropped together with this event."""


class DroppedEvent(LogEvent, tag="dropped"):
    """Something that the job wrote could not be stored; the job went on."""

    bytes: int
    """Its size; 0 when it is unknown."""
    reason: str
    """Why: line_too_long, not_json, not_an_event, not_encodable, too_large, or the reason of the server's refusal."""


class InputLostEvent(LogEvent, tag="input_lost"):
    """The attempt could not get all of its input: some is not kept, or its sender is gone. The job fails."""

    lost_bytes: int
    """How many bytes are gone, from the beginning of the input."""


class QuestionEvent(LogEvent, tag="question"):
    """The job asks a person, and waits. Without options any text is an answer."""

    question_id: str
    kind: Literal["permission", "choice", "text", "budget"]
    text: str
    options: list[dict[str, str]]
    """Each with ``id`` and ``label``."""
    default: str | UnsetType = UNSET
    """The answer once the time is over."""
    expires_at: datetime | UnsetType = UNSET
    tool: str | UnsetType = UNSET
    """The tool that an agent asks to use."""
    input: Any | UnsetType = UNSET
    """What the tool would be called with; a text with a part of it if it is long."""


class AnswerEvent(LogEvent, tag="answer"):
    """A question was answered, or its time is over; then any default is the answer."""

    question_id: str
    choice: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    by: str | UnsetType = UNSET
    expired: bool | UnsetType = UNSET
    remember: Literal["task"] | UnsetType = UNSET
    """The answer counts for each later request for the tool in the task."""


class MessageEvent(LogEvent, tag="message"):
    """Somebody sent words to the agent of a job, or of every job if there is none."""

    message_id: str
    text: str
    by: str | UnsetType = UNSET


class DeliveredEvent(LogEvent, tag="delivered"):
    """The job's agent has taken a message."""

    message_id: str


class ContinuedEvent(LogEvent, tag="continued"):
    """The job had ended and goes on with a message, or its attempt ended while one waited.

    In the second case there is also how the attempt ended.
    """

    message_id: str
    by: str | UnsetType = UNSET
    exit_code: int | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET
    message: str | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    dropped_bytes: int | UnsetType = UNSET
    paused: bool | UnsetType = UNSET
    """Whether the job waits until somebody resumes it."""


class FinishedEvent(LogEvent, tag="finished"):
    """A job ended for good."""

    outcome: Literal["succeeded", "failed", "cancelled"]
    exit_code: int | UnsetType = UNSET
    reason: Reason | UnsetType | None = UNSET
    message: str | UnsetType | None = UNSET
    usage: Usage | UnsetType = UNSET
    dropped_bytes: int | UnsetType = UNSET
    """Bytes that the attempt wrote beyond the limit."""


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
    | PausedEvent
    | PickedEvent
    | ResumedEvent
    | RetriedEvent
    | CancelRequestedEvent
    | PodEvent
    | CheckpointEvent
    | TruncatedEvent
    | DroppedEvent
    | InputLostEvent
    | QuestionEvent
    | AnswerEvent
    | MessageEvent
    | DeliveredEvent
    | CheckEvent
    | BudgetEvent
    | RateLimitedEvent
    | ContinuedEvent
    | FinishedEvent
    | SucceededEvent
    | FailedEvent
    | CancelledEvent
)
"""Any event of a log."""


class TaskState(Struct, rename="camel"):
    """A task in ``stream.systemEvents``."""

    task_id: str
    status: Status
    last_seq: int | UnsetType = UNSET


class Snapshot(Struct, tag_field="type", tag="snapshot"):
    """Workers and open tasks at the beginning of a subscription; not the workers that stopped a minute ago or more."""

    workers: list[Worker]
    tasks: list[TaskState]


class TaskChange(Struct, tag_field="type", tag="task"):
    """The state of a task changed."""

    task: TaskState


class WorkerChange(Struct, tag_field="type", tag="worker"):
    """The state of a worker changed, or the worker is new."""

    worker: Worker


class WorkerRemoved(Struct, tag_field="type", tag="worker_removed", rename="camel"):
    """A worker is no longer listed."""

    worker_id: str


SystemEvent: TypeAlias = Snapshot | TaskChange | WorkerChange | WorkerRemoved
"""Any item of ``stream.systemEvents``."""
