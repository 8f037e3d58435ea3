"""What an agent may do without asking a person; in a module that both replicas and workers import.

``ask``: nothing that needs permission. ``edits``: edit files. ``all``: everything. ``none``: nothing, and it does not
ask either: it reads and plans.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Approval: TypeAlias = Literal["ask", "edits", "all", "none"]
APPROVALS: tuple[Approval, ...] = get_args(Approval)

_PROGRAMS = frozenset({"shell", "scripted"})
_CANNOT_ASK = {
    "codex": "codex asks nobody while it works without a terminal",
    "gemini-cli": "gemini-cli asks nobody while it works without a terminal",
}


def why_impossible(agent: str, approval: Approval, *, stdin: bool) -> str | None:
    """Return why an agent cannot run under an approval; None if it can. Agents of other names speak ACP, which can."""
    if agent in _PROGRAMS:
        return f"{agent} runs commands, which ask for no permission"
    if approval != "ask":
        return None
    if agent in _CANNOT_ASK:
        return f"{_CANNOT_ASK[agent]}; it can run with edits, all or none"
    return f"the stdin of {agent} is the job's input, so it cannot read answers there" if stdin else None
