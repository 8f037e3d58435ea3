"""The events of a task's log: one frozen record for each type, and for each kind of an AI agent's events."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import msgspec

from app.client.models import Record, Usage


class Event(Record, frozen=True, kw_only=True):
    """What every event carries: ``seq`` counts 1, 2, 3 … per task; ``job`` and ``attempt`` are None for the task's."""

    type: str
    task_id: str
    seq: int
    job: int | None
    attempt: int | None
    at: datetime
    stored_at: datetime


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event of a type, or with members, that this release does not know; ``members`` is all of it."""

    members: dict[str, Any]


class CreatedEvent(Event, frozen=True, kw_only=True):
    """The task was made; ``prompt`` is its beginning."""

    agent: str
    workers: int
    prompt: str
    by: str | None = None


class StartedEvent(Event, frozen=True, kw_only=True):
    """An attempt began on a worker."""

    worker_id: str


class OutputEvent(Event, frozen=True, kw_only=True):
    """What the agent wrote; ``content`` has its bytes."""

    stream: str
    data: str
    encoding: str | None = None

    @property
    def content(self) -> bytes:
        """The bytes that were written."""
        return base64.b64decode(self.data) if self.encoding == "base64" else self.data.encode()


class ProgressEvent(Event, frozen=True, kw_only=True):
    """How far the agent says it is."""

    percent: float | None = None
    message: str | None = None


class RequeuedEvent(Event, frozen=True, kw_only=True):
    """The job runs again: its worker was lost, or its agent failed and retries are left."""

    reason: str
    worker_id: str
    next_attempt: int
    exit_code: int | None = None
    message: str | None = None
    dropped_bytes: int | None = None
    usage: Usage | None = None


class ReleasedEvent(Event, frozen=True, kw_only=True):
    """The worker handed the job back."""

    reason: str | None = None
    message: str | None = None


class RetriedEvent(Event, frozen=True, kw_only=True):
    """Somebody asked for the failed jobs to run again."""

    jobs: list[int]
    by: str | None = None


class CancelRequestedEvent(Event, frozen=True, kw_only=True):
    """Somebody asked for the task to end."""

    reason: str | None = None
    by: str | None = None


class PodEvent(Event, frozen=True, kw_only=True):
    """Something is wrong with the job's pod: the cluster's own message, and the next step."""

    reason: str
    message: str
    hint: str
    pod: str


class CheckpointEvent(Event, frozen=True, kw_only=True):
    """The attempt's state was saved."""


class TruncatedEvent(Event, frozen=True, kw_only=True):
    """The attempt's events have reached the limit: what follows is dropped."""

    limit_bytes: int
    dropped_bytes: int


class DroppedEvent(Event, frozen=True, kw_only=True):
    """Something that the job wrote could not be stored; the job ran on."""

    bytes: int
    reason: str


class InputLostEvent(Event, frozen=True, kw_only=True):
    """The attempt could not begin its input anew, because not all of it is kept; its job fails."""

    lost_bytes: int


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
    """The task ended: a job failed; ``job`` is the first that did."""

    reason: str | None = None
    message: str | None = None
    exit_code: int | None = None


class CancelledEvent(Event, frozen=True, kw_only=True):
    """The task ended: it was cancelled."""

    reason: str | None = None
    message: str | None = None


class AgentEvent(Event, frozen=True, kw_only=True):
    """Something an AI agent said or did; ``raw`` is its own line, which goes on in the next event if so said."""

    event: str
    raw: str | None = None
    raw_continues: bool | None = None


class AgentSession(AgentEvent, frozen=True, kw_only=True):
    """The session has begun, or goes on."""

    session_id: str
    model: str | None = None


class AgentTextDelta(AgentEvent, frozen=True, kw_only=True):
    """The agent goes on writing."""

    text: str


class AgentText(AgentEvent, frozen=True, kw_only=True):
    """The agent has written something; ``streamed``: it came in deltas before."""

    text: str
    streamed: bool


class AgentToolStart(AgentEvent, frozen=True, kw_only=True):
    """A tool runs; ``title`` is its path, command or aim."""

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
    """What the run has used: tokens, and dollars where the agent says them."""

    input_tokens: float | None = None
    output_tokens: float | None = None
    cache_read_tokens: float | None = None
    cache_write_tokens: float | None = None
    cost_usd: float | None = None


class AgentRetry(AgentEvent, frozen=True, kw_only=True):
    """The agent asks the model again."""

    message: str
    limit: int | None = None
    status: int | None = None


class AgentError(AgentEvent, frozen=True, kw_only=True):
    """Something went wrong; the agent may go on."""

    message: str
    status: int | None = None


class AgentResult(AgentEvent, frozen=True, kw_only=True):
    """The agent's last word."""

    ok: bool
    message: str


class AgentOther(AgentEvent, frozen=True, kw_only=True):
    """A line that says none of these."""


BY_TYPE: dict[str, type[Event]] = {
    "created": CreatedEvent,
    "started": StartedEvent,
    "output": OutputEvent,
    "progress": ProgressEvent,
    "requeued": RequeuedEvent,
    "released": ReleasedEvent,
    "retried": RetriedEvent,
    "cancel_requested": CancelRequestedEvent,
    "pod": PodEvent,
    "checkpoint": CheckpointEvent,
    "truncated": TruncatedEvent,
    "dropped": DroppedEvent,
    "input_lost": InputLostEvent,
    "finished": FinishedEvent,
    "succeeded": SucceededEvent,
    "failed": FailedEvent,
    "cancelled": CancelledEvent,
}
BY_AGENT_EVENT: dict[str, type[AgentEvent]] = {
    "session": AgentSession,
    "text_delta": AgentTextDelta,
    "text": AgentText,
    "tool_start": AgentToolStart,
    "tool_end": AgentToolEnd,
    "permission": AgentPermission,
    "usage": AgentUsage,
    "retry": AgentRetry,
    "error": AgentError,
    "result": AgentResult,
    "other": AgentOther,
}


def event_of(members: Any) -> Event:
    """Return an event of the wire as a record. Raises ValidationError for what is no event of a log.

    A job writes some of its events itself, so their members may have any shape; such an event is an UnknownEvent.
    """
    kind = members.get("type") if isinstance(members, dict) else None
    said = members.get("event") if kind == "agent" else None
    shape = BY_AGENT_EVENT.get(said) if isinstance(said, str) else BY_TYPE.get(str(kind))
    if shape is not None:
        try:
            return msgspec.convert(members, shape)
        except msgspec.ValidationError:
            pass
    return msgspec.convert({**msgspec.convert(members, dict[str, Any]), "members": members}, UnknownEvent)
