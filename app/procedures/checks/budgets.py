"""What a task's budget may limit: only what its agent reports, because any other limit would never be reached."""

from __future__ import annotations

from app.core.reasons import refusal
from app.shapes.records import Budget

REPORTED = {
    "claude-code": ("costUsd", "tokens"),
    "codex": ("tokens",),
    "gemini-cli": ("tokens",),
    "opencode": ("costUsd",),
}
"""The usage that each agent reports in full. opencode names the tokens of the last call of each turn alone.

Turns are counted by the worker, for every agent but ``shell``.
"""
OPTIONS = {"costUsd": "--max-cost", "tokens": "--max-tokens", "turns": "--max-turns"}


def check_budget(agent: str, budget: Budget | None) -> None:
    """Refuse a budget without a limit, or with one that the agent's reports may not show to be reached."""
    if budget is None:
        return
    limits = {"costUsd": budget.cost_usd, "tokens": budget.tokens, "turns": budget.turns}
    named = [name for name, limit in limits.items() if limit is not None]
    if not named:
        raise refusal("invalid_input", "budget: it has no limit: give costUsd, tokens or turns", field="budget")
    if agent == "shell":
        raise refusal(
            "invalid_input",
            "budget: shell reports no usage",
            field="budget",
            hint="leave the budget out, and limit a program with --timeout",
        )
    for name in named:
        if name != "turns" and name not in REPORTED.get(agent, ()):
            able = ", ".join(sorted(other for other, names in REPORTED.items() if name in names))
            raise refusal(
                "invalid_input",
                f"budget: {agent} does not fully report {name}, so this limit might never be reached",
                field="budget",
                hint=f"leave {OPTIONS[name]} out, or use an agent that reports it: {able}",
            )
