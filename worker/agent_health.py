"""What the end of an attempt says of its agent, for the server's circuit breaker.

``ill``: it failed before it did anything, and neither its task nor its job is why. ``well``: it has worked.
``unknown``: neither; a task that brings a key of its own says nothing of the worker's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from app.core.capabilities import NO_NETWORK
from worker.agents.base import Agent, AgentReader
from worker.agents.verdict import Outcome


def agent_health(
    agent: Agent, job: Mapping[str, Any], outcome: Outcome, reader: AgentReader | None, *, worked_before: bool
) -> Literal["well", "ill", "unknown"]:
    """Judge an attempt; ``reader`` has read its last turn, and ``worked_before`` is about those before that."""
    if agent.needs is None or any(name in (job.get("env") or ()) for name in agent.needs.variables):
        return "unknown"
    if outcome.reason == "auth":
        return "ill"
    if outcome.outcome == "succeeded" or worked_before or (reader is not None and reader.has_worked):
        return "well"
    is_offline = NO_NETWORK in (job.get("requires") or ())
    return "ill" if outcome.reason == "agent_error" and reader is not None and not is_offline else "unknown"
