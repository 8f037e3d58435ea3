"""What an AI agent's event says: one shape a kind, by the member ``event``.

They describe the members that ``worker.agents.events`` makes. A job may write ``agent`` events of its own with other
members; readers ignore an ``event`` that they do not know.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

ToolKind = Literal["edit", "bash", "read", "search", "fetch", "other"]


class _Said(Struct, rename="camel", tag_field="event", kw_only=True):
    """What every kind carries: the agent's own line, as far as it fits one event."""

    raw: str | UnsetType = UNSET
    raw_continues: bool | UnsetType = UNSET
    """Whether the rest of the line stands in the next event."""


class AgentSession(_Said, tag="session"):
    """The session has begun, or goes on."""

    session_id: str
    model: str | UnsetType = UNSET


class AgentTextDelta(_Said, tag="text_delta"):
    """The agent goes on writing."""

    text: str


class AgentText(_Said, tag="text"):
    """The agent has written something; ``streamed``: it came in deltas before."""

    text: str
    streamed: bool


class AgentToolStart(_Said, tag="tool_start"):
    """A tool runs; ``title`` is its path, command or aim."""

    tool_id: str
    tool: str
    kind: ToolKind
    title: str


class AgentToolEnd(_Said, tag="tool_end"):
    """A tool has ended; ``added`` and ``removed`` count lines of an edit."""

    tool_id: str
    tool: str
    kind: ToolKind
    title: str
    ok: bool
    exit_code: int | UnsetType = UNSET
    added: int | UnsetType = UNSET
    removed: int | UnsetType = UNSET
    output: str | UnsetType = UNSET


class AgentPermission(_Said, tag="permission"):
    """The agent was denied or allowed a tool."""

    tool: str
    decision: Literal["denied", "allowed"]
    message: str


class AgentUsage(_Said, tag="usage"):
    """What the run has used: tokens, and dollars where the agent says them."""

    input_tokens: float | UnsetType = UNSET
    output_tokens: float | UnsetType = UNSET
    cache_read_tokens: float | UnsetType = UNSET
    cache_write_tokens: float | UnsetType = UNSET
    cost_usd: float | UnsetType = UNSET


class AgentRetry(_Said, tag="retry"):
    """The agent asks the model again."""

    message: str
    limit: int | UnsetType = UNSET
    status: int | UnsetType = UNSET


class AgentError(_Said, tag="error"):
    """Something went wrong; the agent may go on."""

    message: str
    status: int | UnsetType = UNSET


class AgentResult(_Said, tag="result"):
    """The agent's last word."""

    ok: bool
    message: str


class AgentOther(_Said, tag="other"):
    """A line that says none of these."""


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
"""Whatever an AI agent says."""
