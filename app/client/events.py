"""The events of a task: one frozen record for each type; ``agent_events`` has those of AI agents."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Annotated, Any

import msgspec

from app.client.agent_events import AgentEvent
from app.client.models import Usage
from app.client.records import Event, Time, UnknownEvent
from app.core.reasons import PodReason, Reason
from app.rpc.words import closed_words

_CommandSource = Annotated[str, closed_words("setup", "check")]


class CreatedEvent(Event, frozen=True, kw_only=True):
    """The task was created; ``prompt`` is its beginning."""

    agent: str
    workers: int
    prompt: str
    agents: list[str] | None = None
    """The agents of the jobs in turn, if they differ."""
    by: str | None = None
    """The user or service who created the task."""
    after: list[str] | None = None
    """Tasks after which it starts."""


class StartedEvent(Event, frozen=True, kw_only=True):
    """An attempt began on a worker."""

    worker_id: str


class OutputEvent(Event, frozen=True, kw_only=True):
    """A chunk of the agent's output; it has ``encoding`` unless all of it is UTF-8."""

    stream: Annotated[str, closed_words("stdout", "stderr")]
    data: str
    encoding: Annotated[str, closed_words("base64")] | None = None
    source: _CommandSource | None = None
    """What wrote it, on ``stderr``; None: the agent."""

    @property
    def content(self) -> bytes:
        """The bytes as the agent wrote them."""
        return base64.b64decode(self.data) if self.encoding == "base64" else self.data.encode()


class CheckEvent(Event, frozen=True, kw_only=True):
    """A check of the task ran; it passed if its exit code is 0."""

    command: str
    exit_code: int
    """128 and the number of a signal that ended it; 124 if it took too long."""
    try_: int = msgspec.field(name="try")
    """How often the attempt has run the checks by now."""
    seconds: float


class BudgetEvent(Event, frozen=True, kw_only=True):
    """The job has reached a limit of its budget."""

    limit: dict[str, float]
    """The limit, by its name: ``costUsd``, ``tokens`` or ``turns``."""
    spent: dict[str, float]
    """What all attempts of the job have used."""


class RateLimitedEvent(Event, frozen=True, kw_only=True):
    """The model's service has told the agent to wait. The attempt waits, or the job is handed back until then."""

    agent: str
    until: Time
    seconds: float
    credential: str | None = None
    """The name of the credential that is limited, if the worker has several for the agent."""


class ProgressEvent(Event, frozen=True, kw_only=True):
    """Progress as the agent reports it."""

    percent: float | None = None
    message: str | None = None


class RequeuedEvent(Event, frozen=True, kw_only=True):
    """The job runs again: its worker was lost, or its agent failed and retries are left."""

    reason: Reason
    worker_id: str
    next_attempt: int
    paused: bool = False
    """Whether it waits until a caller resumes it."""
    exit_code: int | None = None
    message: str | None = None
    dropped_bytes: int | None = None
    usage: Usage | None = None


class ReleasedEvent(Event, frozen=True, kw_only=True):
    """The worker handed the job back; it is queued again, or ``paused`` until a caller resumes it."""

    reason: Reason | None = None
    message: str | None = None
    paused: bool = False


class PausedEvent(Event, frozen=True, kw_only=True):
    """A caller paused the task: its queued jobs wait from now on, running ones once their workers hand them back."""

    reason: str | None = None
    by: str | None = None


class ResumedEvent(Event, frozen=True, kw_only=True):
    """A caller resumed the task: its paused jobs are queued again."""

    by: str | None = None


class PickedEvent(Event, frozen=True, kw_only=True):
    """A caller picked the result of the job among those of the task."""

    by: str | None = None


class RetriedEvent(Event, frozen=True, kw_only=True):
    """A caller queued the failed jobs again."""

    jobs: list[int]
    by: str | None = None


class CancelRequestedEvent(Event, frozen=True, kw_only=True):
    """A caller cancelled the task, which ends once its jobs have stopped."""

    reason: str | None = None
    by: str | None = None


class PodEvent(Event, frozen=True, kw_only=True):
    """The job's pod has a problem: the cluster's message, and the next step."""

    reason: PodReason
    message: str
    hint: str
    pod: str


class CheckpointEvent(Event, frozen=True, kw_only=True):
    """The attempt's state was saved."""


class TruncatedEvent(Event, frozen=True, kw_only=True):
    """The attempt's events have reached the limit, and later ones are dropped; ``finished`` says how many bytes.

    Output is dropped first, and after another MiB every event.
    """

    limit_bytes: int
    dropped_bytes: int
    """Bytes dropped together with this event."""


class DroppedEvent(Event, frozen=True, kw_only=True):
    """Something that the job wrote could not be stored; the job went on."""

    bytes: int
    """Its size; 0 when it is unknown."""
    reason: str
    """Why: line_too_long, not_json, not_an_event, not_encodable, too_large, or the reason of the server's refusal."""


class InputLostEvent(Event, frozen=True, kw_only=True):
    """The attempt could not get all of its input: some is not kept, or its sender is gone. The job fails."""

    lost_bytes: int
    """How many bytes are gone, from the beginning of the input."""


class QuestionEvent(Event, frozen=True, kw_only=True):
    """The job asks a person, and waits. Without options any text is an answer."""

    question_id: str
    kind: Annotated[str, closed_words("permission", "choice", "text", "budget")]
    text: str
    options: list[dict[str, str]]
    """Each with ``id`` and ``label``."""
    default: str | None = None
    """The answer once the time is over."""
    expires_at: datetime | None = None
    tool: str | None = None
    """The tool that an agent asks to use."""
    input: Any = None
    """What the tool would be called with; a text with a part of it if it is long."""


class AnswerEvent(Event, frozen=True, kw_only=True):
    """A question was answered, or its time is over; then any default is the answer."""

    question_id: str
    choice: str | None = None
    text: str | None = None
    by: str | None = None
    expired: bool = False
    remember: Annotated[str, closed_words("task")] | None = None
    """``task``: the answer counts for each later request for the tool in the task."""


class MessageEvent(Event, frozen=True, kw_only=True):
    """A caller sent words to the agent of the job; without a job, to the agents of all jobs."""

    message_id: str
    text: str
    by: str | None = None


class DeliveredEvent(Event, frozen=True, kw_only=True):
    """The job's agent has taken a message."""

    message_id: str


class ContinuedEvent(Event, frozen=True, kw_only=True):
    """The job goes on with a message, although it, or its last attempt, had ended."""

    message_id: str
    by: str | None = None
    exit_code: int | None = None
    reason: Reason | None = None
    message: str | None = None
    usage: Usage | None = None
    dropped_bytes: int | None = None
    paused: bool = False
    """Whether the job waits until a caller resumes it."""


class FinishedEvent(Event, frozen=True, kw_only=True):
    """A job ended for good."""

    outcome: Annotated[str, closed_words("succeeded", "failed", "cancelled")]
    exit_code: int | None = None
    reason: Reason | None = None
    message: str | None = None
    usage: Usage | None = None
    dropped_bytes: int | None = None


class SucceededEvent(Event, frozen=True, kw_only=True):
    """The task ended: every job succeeded."""


class FailedEvent(Event, frozen=True, kw_only=True):
    """The task ended, because a job failed; ``job`` is the first that did."""

    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None


class CancelledEvent(Event, frozen=True, kw_only=True):
    """The task ended: it was cancelled."""

    reason: str | None = None
    message: str | None = None


def _word(name: str) -> str:
    """Return the word of the wire for a part of a class name: CancelRequested is ``cancel_requested``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


BY_TYPE: dict[str, type[Event]] = {
    _word(kind.__name__.removesuffix("Event")): kind
    for kind in Event.__subclasses__()
    if kind not in (UnknownEvent, AgentEvent)
}
BY_AGENT_EVENT: dict[str, type[AgentEvent]] = {
    _word(kind.__name__.removeprefix("Agent")): kind for kind in AgentEvent.__subclasses__()
}


def event_of(members: Any) -> Event:
    """Return an event of the wire as a record. Raises ValidationError for a value that is no event.

    Jobs can write events of their own with members of any shape; those become an UnknownEvent.
    """
    kind = members.get("type") if isinstance(members, dict) else None
    agent_event = members.get("event") if kind == "agent" else None
    shape = BY_AGENT_EVENT.get(agent_event) if isinstance(agent_event, str) else BY_TYPE.get(str(kind))
    if shape is not None:
        try:
            return msgspec.convert(members, shape)
        except msgspec.ValidationError:
            pass
    return msgspec.convert({**msgspec.convert(members, dict[str, Any]), "members": members}, UnknownEvent)
