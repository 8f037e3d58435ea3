"""The agents of a task's jobs: one for all, or several in turn."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.reasons import refusal

DEFAULT = "shell"


def in_turn(agent: str, agents: Sequence[str], workers: int) -> tuple[str, ...]:
    """Return the agents of a task's jobs in turn, only one if all are the same. Raises BAD_REQUEST."""
    if not agents:
        return (agent,)
    if agent not in (DEFAULT, agents[0]):
        text = f"agents: they begin with {agents[0]}, but agent is {agent}"
        raise refusal("invalid_input", text, hint="give agent, or agents", field="agents")
    if len(agents) > workers:
        text = f"agents: {len(agents)} agents for {workers} {'job' if workers == 1 else 'jobs'}: some would run none"
        step = f"ask for as many jobs as agents (--workers {len(agents)}), or name fewer agents"
        raise refusal("invalid_input", text, hint=step, field="agents")
    return tuple(agents) if len(set(agents)) > 1 else (agents[0],)
