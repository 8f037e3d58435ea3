"""The events of an AI agent, one record for each kind; ``worker.agents.events`` makes their members."""

from __future__ import annotations

from typing import Annotated

from app.client.records import Event
from app.rpc.words import closed_words

ToolKind = Annotated[str, closed_words("edit", "bash", "read", "search", "fetch", "other")]


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
    kind: ToolKind
    title: str


class AgentToolEnd(AgentEvent, frozen=True, kw_only=True):
    """A tool has ended; ``added`` and ``removed`` count lines of an edit."""

    tool_id: str
    tool: str
    kind: ToolKind
    title: str
    ok: bool
    exit_code: int | None = None
    added: int | None = None
    removed: int | None = None
    output: str | None = None


class AgentPermission(AgentEvent, frozen=True, kw_only=True):
    """The agent was denied or allowed a tool."""

    tool: str
    decision: Annotated[str, closed_words("denied", "allowed")]
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
    """How long it waits before, if it says so."""


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
