"""The shapes of ``agent`` events, one for each value of the member ``event``.

``worker.agents.events`` makes these members. A job may write ``agent`` events of its own with other
members; readers ignore an ``event`` that they do not know.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

ToolKind = Literal["edit", "bash", "read", "search", "fetch", "other"]


class _AgentEvent(Struct, rename="camel", tag_field="event", kw_only=True):
    """What every kind carries: the line that the agent wrote, or as much of it as fits one event."""

    raw: str | UnsetType = UNSET
    raw_continues: bool | UnsetType = UNSET
    """Whether the next event continues the line."""


class AgentSession(_AgentEvent, tag="session"):
    """The session began or was resumed."""

    session_id: str
    model: str | UnsetType = UNSET


class AgentTextDelta(_AgentEvent, tag="text_delta"):
    """A piece of a text that the agent is writing."""

    text: str


class AgentText(_AgentEvent, tag="text"):
    """A text of the agent; with ``streamed`` it was sent in deltas before."""

    text: str
    streamed: bool


class AgentToolStart(_AgentEvent, tag="tool_start"):
    """A tool started; ``title`` is its path, command or purpose."""

    tool_id: str
    tool: str
    kind: ToolKind
    title: str


class AgentToolEnd(_AgentEvent, tag="tool_end"):
    """A tool ended; ``added`` and ``removed`` count the lines of an edit."""

    tool_id: str
    tool: str
    kind: ToolKind
    title: str
    ok: bool
    exit_code: int | UnsetType = UNSET
    added: int | UnsetType = UNSET
    removed: int | UnsetType = UNSET
    output: str | UnsetType = UNSET


class AgentPermission(_AgentEvent, tag="permission"):
    """The use of a tool was denied or allowed."""

    tool: str
    decision: Literal["denied", "allowed"]
    message: str


class AgentUsage(_AgentEvent, tag="usage"):
    """Tokens that the run has used, and dollars if the agent reports them."""

    input_tokens: float | UnsetType = UNSET
    output_tokens: float | UnsetType = UNSET
    cache_read_tokens: float | UnsetType = UNSET
    cache_write_tokens: float | UnsetType = UNSET
    cost_usd: float | UnsetType = UNSET


class AgentRetry(_AgentEvent, tag="retry"):
    """The agent repeats a request to the model."""

    message: str
    limit: int | UnsetType = UNSET
    status: int | UnsetType = UNSET
    delay_seconds: float | UnsetType = UNSET
    """How long it waits before, if it says so."""


class AgentError(_AgentEvent, tag="error"):
    """An error; the agent may go on."""

    message: str
    status: int | UnsetType = UNSET


class AgentResult(_AgentEvent, tag="result"):
    """The agent's final result."""

    ok: bool
    message: str


class AgentOther(_AgentEvent, tag="other"):
    """A line of any other kind."""


AgentSaid: TypeAlias = (
    AgentSession
    | AgentTextDelta
    | AgentText
    | AgentToolStart
    | AgentToolEnd
    | AgentPermission
    | AgentUsage
    | AgentRetry
    | AgentError
    | AgentResult
    | AgentOther
)
"""Any event of an AI agent."""
