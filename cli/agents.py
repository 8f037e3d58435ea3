"""Agents that workers offer, and the AI agent of a task that names none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cli import exits
from cli.errors import CliError

PROGRAMS = frozenset({"shell", "scripted"})
"""Agents whose output is shown byte for byte."""
KNOWN = ("claude-code", "codex", "gemini-cli", "opencode")
"""The AI agents that ado knows, in the order of preference."""
_LABEL = "agent/"
NETWORK = "network:"
"""Prefix of the capabilities that depend on a worker's sandbox."""
STDIN = "input:stdin"
"""The capability of every worker whose release sends stdin to jobs."""
HIDDEN = (NETWORK, STDIN, "checks:", "approve:", "workspace:", "budget:")
"""Prefixes of capabilities that are not shown: they say what a worker's release or sandbox can do."""


def is_ai(agents: Iterable[str | None]) -> bool:
    """Whether one of the agents is an AI agent; None is one that is not chosen yet."""
    return any(agent not in PROGRAMS for agent in agents)


def reads_prompt(agents: Sequence[str]) -> str:
    """Return the agent that decides how the prompt and stdin are taken: a program, if there is one among several."""
    return next((agent for agent in agents if agent in PROGRAMS), agents[0])


def agents_of(task: Mapping[str, Any]) -> list[str]:
    """Return the agents of a task's jobs in turn; one if all have the same."""
    return task.get("agents") or [task["agent"]]


def versions(worker: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions of the AI agents that a worker offers."""
    labels: Mapping[str, str] = worker["labels"]
    return {name.removeprefix(_LABEL): value for name, value in labels.items() if name.startswith(_LABEL)}


def offers(worker: Mapping[str, Any]) -> list[str]:
    """Return what a worker offers, AI agents with their versions; its sandbox is shown by its label."""
    known = versions(worker)
    names = (name for name in worker["capabilities"] if not name.startswith(HIDDEN))
    return [f"{name} {known[name]}" if name in known else name for name in names]


def agent_names(capabilities: Iterable[str]) -> list[str]:
    """Return the capabilities that may be agents: those without a colon, unlike network:none or secret:NAME."""
    return sorted(name for name in capabilities if ":" not in name)


def preferred(workers: Iterable[Mapping[str, Any]], from_new_workers: Iterable[str] = ()) -> str:
    """Return the preferred AI agent of the workers, and of new ones, which would offer these. Raises CliError."""
    offered: set[str] = set(from_new_workers)
    labelled: set[str] = set()
    for worker in workers:
        offered |= set(worker["capabilities"])
        labelled |= versions(worker).keys()
    for name in (*KNOWN, *sorted(labelled)):
        if name in offered:
            return name
    raise CliError(
        f"no AI agent is offered; offered: {', '.join(agent_names(offered)) or 'nothing yet'}",
        "choose one with --agent, for example --agent shell to run a command; ado doctor --agents says what is missing",
        exits.UNKNOWN,
        "no_agent",
    )
