"""The events of a task: one frozen record for each type, and for each kind of event of an AI agent."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Any

import msgspec

from app.client.models import Usage
from app.client.records import Record, Time


class Event(Record, frozen=True, kw_only=True):
    """Members of every event. ``seq`` counts from 1 for each task; events of the task itself have no job."""

    type: str
    task_id: str
    seq: int
    job: int | None
    attempt: int | None
    at: datetime
    stored_at: datetime


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event of a type or shape that this release does not know; ``members`` is the whole event."""

    members: dict[str, Any]


class CreatedEvent(Event, frozen=True, kw_only=True):
    """The task was made; ``prompt`` is its beginning."""

    agent: str
    workers: int
    prompt: str
    agents: list[str] | None = None
    """The agents of the jobs in turn, if they differ."""
    by: str | None = None
    after: list[str] | None = None


class StartedEvent(Event, frozen=True, kw_only=True):
    """An attempt began on a worker."""

    worker_id: str


class OutputEvent(Event, frozen=True, kw_only=True):
    """Output of the agent; ``content`` has its bytes."""

    stream: str
    data: str
    encoding: str | None = None
    source: str | None = None
    """``setup`` or ``check`` if such a command wrote it, else None."""

    @property
    def content(self) -> bytes:
        """The bytes as the agent wrote them."""
        return base64.b64decode(self.data) if self.encoding == "base64" else self.data.encode()


class CheckEvent(Event, frozen=True, kw_only=True):
    """A check of the task ran; it passed if its exit code is 0."""

    command: str
    exit_code: int
    try_: int = msgspec.field(name="try")
    """How often the attempt has run the checks by now."""
    seconds: float


class BudgetEvent(Event, frozen=True, kw_only=True):
    """The job has reached a limit of its budget: ``costUsd``, ``tokens`` or ``turns``."""

    limit: dict[str, float]
    spent: dict[str, float]
    """What all attempts of the job have used."""


class RateLimitedEvent(Event, frozen=True, kw_only=True):
    """The model's service has told the agent to wait; ``credential`` is the name of the limited one of several."""

    agent: str
    until: Time
    seconds: float
    credential: str | None = None


class ProgressEvent(Event, frozen=True, kw_only=True):
    """Progress as the agent reports it."""

    percent: float | None = None
    message: str | None = None


class RequeuedEvent(Event, frozen=True, kw_only=True):
    """The job runs again: its worker was lost, or its agent failed and retries are left."""

    reason: str
    worker_id: str
    next_attempt: int
    paused: bool = False
    exit_code: int | None = None
    message: str | None = None
    dropped_bytes: int | None = None
    usage: Usage | None = None


class ReleasedEvent(Event, frozen=True, kw_only=True):
    """The worker released the job, which is queued again, or is paused."""

    reason: str | None = None
    message: str | None = None
    paused: bool = False


class PausedEvent(Event, frozen=True, kw_only=True):
    """A caller paused the task."""

    reason: str | None = None
    by: str | None = None


class ResumedEvent(Event, frozen=True, kw_only=True):
    """A caller resumed the task."""

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

    reason: str
    message: str
    hint: str
    pod: str


class CheckpointEvent(Event, frozen=True, kw_only=True):
    """The attempt's state was saved."""


class TruncatedEvent(Event, frozen=True, kw_only=True):
    """The attempt's events have reached the limit; later ones are dropped."""

    limit_bytes: int
    dropped_bytes: int


class DroppedEvent(Event, frozen=True, kw_only=True):
    """Output of the job could not be stored; the job went on."""

    bytes: int
    reason: str


class InputLostEvent(Event, frozen=True, kw_only=True):
    """The attempt could not read its input from the start, because it is not all kept; its job fails."""

    lost_bytes: int


class QuestionEvent(Event, frozen=True, kw_only=True):
    """The job asks a person and waits. An option has ``id`` and ``label``; without options any text is an answer."""

    question_id: str
    kind: str
    text: str
    options: list[dict[str, str]]
    default: str | None = None
    expires_at: datetime | None = None
    tool: str | None = None
    """The tool that an agent asks to use."""
    input: Any = None


class AnswerEvent(Event, frozen=True, kw_only=True):
    """A question was answered, or its time is over; then any default is the answer."""

    question_id: str
    choice: str | None = None
    text: str | None = None
    by: str | None = None
    expired: bool = False
    remember: str | None = None
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
    reason: str | None = None
    message: str | None = None
    usage: Usage | None = None
    dropped_bytes: int | None = None
    paused: bool = False


class FinishedEvent(Event, frozen=True, kw_only=True):
    """A job ended for good."""

    outcome: str
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    usage: Usage | None = None
    dropped_bytes: int | None = None


class SucceededEvent(Event, frozen=True, kw_only=True):
    """The task ended: every job succeeded."""


class FailedEvent(Event, frozen=True, kw_only=True):
    """The task ended, because a job failed; ``job`` is the first that did."""

    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None


class CancelledEvent(Event, frozen=True, kw_only=True):
    """The task ended: it was cancelled."""

    reason: str | None = None
    message: str | None = None


class AgentEvent(Event, frozen=True, kw_only=True):
    """An event of an AI agent; ``raw`` is its line, continued in the next event with ``raw_continues``."""

    event: str
    raw: str | None = None
    raw_continues: bool | None = None


class AgentSession(AgentEvent, frozen=True, kw_only=True):
    """The session has begun, or goes on."""

    session_id: str
    model: str | None = None


class AgentTextDelta(AgentEvent, frozen=True, kw_only=True):
    """A further part of a text that the agent writes."""

    text: str


class AgentText(AgentEvent, frozen=True, kw_only=True):
    """A whole text of the agent; ``streamed`` if it came in deltas before."""

    text: str
    streamed: bool


class AgentToolStart(AgentEvent, frozen=True, kw_only=True):
    """A tool starts; ``title`` is its path, command or purpose."""

    tool_id: str
    tool: str
    kind: str
    title: str


class AgentToolEnd(AgentEvent, frozen=True, kw_only=True):
    """A tool has ended; ``added`` and ``removed`` count lines of an edit."""

    tool_id: str
    tool: str
    kind: str
    title: str
    ok: bool
    exit_code: int | None = None
    added: int | None = None
    removed: int | None = None
    output: str | None = None


class AgentPermission(AgentEvent, frozen=True, kw_only=True):
    """The agent was denied or allowed a tool."""

    tool: str
    decision: str
    message: str


class AgentUsage(AgentEvent, frozen=True, kw_only=True):
    """Tokens that the run has used, and dollars if the agent reports them."""

    input_tokens: float | None = None
    output_tokens: float | None = None
    cache_read_tokens: float | None = None
    cache_write_tokens: float | None = None
    cost_usd: float | None = None


class AgentRetry(AgentEvent, frozen=True, kw_only=True):
    """The agent repeats a request to the model."""

    message: str
    limit: int | None = None
    status: int | None = None
    delay_seconds: float | None = None


class AgentError(AgentEvent, frozen=True, kw_only=True):
    """An error of the agent, which may go on."""

    message: str
    status: int | None = None


class AgentResult(AgentEvent, frozen=True, kw_only=True):
    """The agent's final result."""

    ok: bool
    message: str


class AgentOther(AgentEvent, frozen=True, kw_only=True):
    """A line of any other kind."""


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
