"""How a run of an agent ends: by its exit code alone, or for an AI agent by its result and its exit code together.

An AI agent that is stopped half-way may exit with 0, one that was refused every tool reports success, and one with
wrong credentials reports a result. ``Verdict`` tells these cases apart for all agents.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from worker.agents.delays import delay_in
from worker.processes.process import ProcessEnd

Event = dict[str, Any]
"""A normalised event: ``event`` names it (see ``worker.agents.events``), the other members are its own."""

TURN_ENDS = frozenset({"tool_end", "result"})
"""Events after which an agent has written its session to its files, so that it can be saved."""
BUDGET = "budget_exceeded"
"""The reason of an agent that was stopped, or has stopped, at a limit of its job's budget."""
AUTH_STATUSES = frozenset({401, 403})
LIMIT_STATUSES = frozenset({429, 529})
"""Statuses of a refusal for limits: the standard one, and Anthropic's for an overloaded service."""
_REFUSED_STEP = "run it with --approve all, or allow the tool in the agent's settings"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended, as it is reported to the server."""

    outcome: str
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    after_seconds: float | None = None
    """How long a job that is handed back for a rate limit has to wait."""


def exit_outcome(end: ProcessEnd) -> Outcome:
    """Return the outcome of a process by its exit code alone."""
    if end.error is not None:
        return Outcome("failed", None, "start_failed", end.error)
    if end.signal is not None:
        return Outcome("failed", end.code, "exit_nonzero", f"ended by signal {end.signal}")
    if end.exit_code:
        return Outcome("failed", end.exit_code, "exit_nonzero", f"exit code {end.exit_code}")
    return Outcome("succeeded", 0)


@dataclass(slots=True)
class Verdict:
    """What a run of an AI agent has reported so far, as far as its outcome depends on it."""

    final: bool | None = None
    """Whether its result reports success; None before a result."""
    message: str = ""
    """The text of the result, or of the last error before it."""
    status: int | None = None
    """The HTTP status of the model's service in the last error."""
    delay: float | None = None
    """How many seconds the service told the agent to wait in the last error."""
    refused: dict[str, str] = field(default_factory=dict)
    """Tools that were refused and not allowed afterwards, each with its message."""
    needs_evidence: bool = False
    """Whether success counts only with a sign of work: ACP's ``end_turn`` follows failures too."""
    tokens: float | None = None
    """Tokens of the run; None if the agent does not report them."""
    is_over_budget: bool = False
    """Whether the agent itself has stopped at the limit that it was started with."""
    has_text: bool = False
    has_tool_use: bool = False

    def see(self, events: Iterable[Event]) -> None:
        """Note the signs of work in events."""
        for event in events:
            match event.get("event"):
                case "text" | "text_delta":
                    self.has_text = self.has_text or bool(event.get("text"))
                case "tool_start" | "tool_end":
                    self.has_tool_use = True
                case "usage":
                    counts = [event[name] for name in ("inputTokens", "outputTokens") if name in event]
                    self.tokens = sum(counts) if counts else self.tokens

    def stalled(self, seconds: float) -> Outcome:
        """Return the outcome of a run without output for so long; after a refusal for limits, that is the reason."""
        if self.status in LIMIT_STATUSES:
            message = f"the model's service refused because of its limits ({self.status}), then there was silence"
            return Outcome("failed", None, "rate_limited", f"{message} for {seconds:g} seconds")
        return Outcome("failed", None, "timed_out", f"the agent said nothing for {seconds:g} seconds")

    def _did_nothing(self) -> bool:
        """Whether no model was called, or nothing shows that one was called."""
        if self.has_tool_use:
            return False
        if self.tokens is not None:
            return self.tokens == 0
        return self.needs_evidence and not self.has_text

    @property
    def has_worked(self) -> bool:
        """Whether it has used a tool, or its model has answered; an error may come as text, with no tokens."""
        return self.has_tool_use or (self.has_text if self.tokens is None else self.tokens > 0)

    def fail(self, message: str, status: int | None = None, delay: float | None = None) -> None:
        """Note an error; a later answer or result replaces it."""
        self.message = message
        self.status = status
        self.delay = _delay_in_text(message) if delay is None else delay

    def go_on(self) -> None:
        """Forget the last error: the agent has gone on after it."""
        self.message = ""
        self.status = self.delay = None

    def end(self, ok: bool, message: str = "") -> None:
        """Note the agent's result."""
        self.final = ok
        self.message = message or self.message
        if not ok and (delay := _delay_in_text(message)) is not None:
            self.delay = delay

    def refuse(self, tool: str, message: str) -> None:
        """Note that a tool was refused."""
        self.refused[tool] = message

    def allow(self, tool: str) -> None:
        """Note that a tool ran."""
        self.refused.pop(tool, None)

    def outcome(self, end: ProcessEnd) -> Outcome:
        """Return the outcome of the run."""
        if end.error is not None:
            return Outcome("failed", None, "start_failed", end.error)
        code = end.code
        if self.final is None and not self.status:
            return Outcome("failed", code, "no_result", self.message or f"no final result; exit code {code}")
        if not self.final:
            what = f"no final result; exit code {code}" if self.final is None else "the agent reported a failure"
            reason = self._failure_reason()
            delay = self.delay if reason == "rate_limited" else None
            return Outcome("failed", code, reason, self.message or what, delay)
        return self._outcome_of_success(code)

    def _outcome_of_success(self, code: int | None) -> Outcome:
        """Return the outcome of a run that reported success."""
        if code:
            return Outcome("failed", code, "exit_nonzero", f"reported success, but ended with exit code {code}")
        if self.refused:
            tools = ", ".join(sorted(self.refused))
            return Outcome("failed", code, "permission_denied", f"not allowed: {tools}; {_REFUSED_STEP}")
        if self._did_nothing():
            message = "it ended its turn without asking a model" + (f": {self.message}" if self.message else "")
            return Outcome("failed", code, "no_result", message)
        return Outcome("succeeded", 0)

    def _failure_reason(self) -> str:
        if self.is_over_budget:
            return BUDGET
        if self.status in AUTH_STATUSES:
            return "auth"
        return "rate_limited" if self.status in LIMIT_STATUSES else "agent_error"


def _delay_in_text(message: str) -> float | None:
    """Return how long an error's text says to wait; agents write times of day as their worker's clock has them."""
    return delay_in(message, datetime.now().astimezone())
