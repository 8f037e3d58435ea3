"""What an agent may do without asking a person; in a module that both replicas and workers import.

``ask``: nothing that needs permission. ``edits``: edit files. ``all``: everything. ``none``: nothing, and it does not
ask either: it reads and plans.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

Approval: TypeAlias = Literal["ask", "edits", "all", "none"]
APPROVALS: tuple[Approval, ...] = ("none", "ask", "edits", "all")
"""The narrowest first."""
CAPABILITIES = tuple(f"approve:{approval}" for approval in APPROVALS)
"""What a worker offers that runs agents under them; a task under one requires it."""

PROGRAMS = frozenset({"shell", "scripted"})
"""Agents that come with every worker, and run commands."""
_CANNOT_ASK = {
    "codex": "codex asks nobody while it works without a terminal",
    "gemini-cli": "gemini-cli asks nobody in the form in which ado runs it; as an agent of ACP it asks "
    "(ADO_ACP_AGENTS of a worker: 'gemini=gemini --acp')",
}


def capability_of(approval: Approval) -> str:
    """Return the capability that a task under an approval requires."""
    return CAPABILITIES[APPROVALS.index(approval)]


def approval_in(requires: Collection[str]) -> Approval | None:
    """Return the approval of a task that requires these capabilities; the narrowest of several."""
    return next((approval for approval in APPROVALS if capability_of(approval) in requires), None)


def why_impossible(agent: str, approval: Approval, *, stdin: bool) -> str | None:
    """Return why an agent cannot run under an approval; None if it can. Agents of other names speak ACP, which can."""
    if agent in PROGRAMS:
        return f"{agent} runs commands, which ask for no permission"
    if approval != "ask":
        return None
    if agent in _CANNOT_ASK:
        return f"{_CANNOT_ASK[agent]}; it can run with edits, all or none"
    return f"the stdin of {agent} is the job's input, so it cannot read answers there" if stdin else None
