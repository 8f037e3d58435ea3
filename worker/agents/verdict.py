"""How a run of an AI agent ended: its last word and its exit code must both say success.

An agent that was stopped half-way may exit 0, one that was refused every tool reports success, and one whose
credentials are wrong calls it a result: so each of these is told apart here, once for all agents.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from worker.agents.base import Event, Outcome
from worker.processes.process import ProcessEnd

_AUTH = frozenset({401, 403})
_LIMITS = frozenset({429, 529})
_REFUSED_STEP = "run it on a worker with ADO_ISOLATED=true, or allow the tool in the agent's settings"


@dataclass(slots=True)
class Verdict:
    """What a run has told so far, as far as its outcome depends on it."""

    final: bool | None = None
    """Its last word: success or failure; None: there was none."""
    message: str = ""
    """What the last word, or the last error before it, said."""
    status: int | None = None
    """The HTTP status of the model's service in the last error."""
    refused: dict[str, str] = field(default_factory=dict)
    """Tools that were refused and not allowed afterwards, with what was said."""
    needs_evidence: bool = False
    """Whether a last word of success counts only with some sign of work: ACP's ``end_turn`` follows failures too."""
    tokens: float | None = None
    """Tokens of the run; None: the agent did not say."""
    spoke: bool = False
    used_tool: bool = False

    def see(self, found: Iterable[Event]) -> None:
        """Note the signs of work in events."""
        for event in found:
            match event.get("event"):
                case "text" | "text_delta":
                    self.spoke = self.spoke or bool(event.get("text"))
                case "tool_start" | "tool_end":
                    self.used_tool = True
                case "usage":
                    counts = [event[name] for name in ("inputTokens", "outputTokens") if name in event]
                    self.tokens = sum(counts) if counts else self.tokens

    def stalled(self, seconds: float) -> Outcome:
        """Judge a run that has said nothing for so long: after a refusal for limits it waits for them."""
        if self.status in _LIMITS:
            message = f"the model's service refused because of its limits ({self.status}), then there was silence"
            return Outcome("failed", None, "rate_limited", f"{message} for {seconds:g} seconds")
        return Outcome("failed", None, "timed_out", f"the agent said nothing for {seconds:g} seconds")

    def _did_nothing(self) -> bool:
        """Whether there was no call of a model, or nothing shows that there was one."""
        if self.used_tool:
            return False
        if self.tokens is not None:
            return self.tokens == 0
        return self.needs_evidence and not self.spoke

    def fail(self, message: str, status: int | None = None) -> None:
        """Note an error; it decides only if nothing better follows."""
        self.message = message
        self.status = status

    def go_on(self) -> None:
        """Note that the agent went on after an error."""
        self.message = ""
        self.status = None

    def end(self, ok: bool, message: str = "") -> None:
        """Note the agent's last word."""
        self.final = ok
        self.message = message or self.message

    def refuse(self, tool: str, message: str) -> None:
        """Note that a tool was not allowed."""
        self.refused[tool] = message

    def allow(self, tool: str) -> None:
        """Note that a tool ran."""
        self.refused.pop(tool, None)

    def outcome(self, ended: ProcessEnd) -> Outcome:
        """Judge the run."""
        if ended.error is not None:
            return Outcome("failed", None, "start_failed", ended.error)
        code = 128 + ended.signal if ended.signal is not None else ended.exit_code
        if self.final is None:
            reason = self._cause() if self.status else "no_result"
            return Outcome("failed", code, reason, self.message or f"no final result; exit code {code}")
        if not self.final:
            return Outcome("failed", code, self._cause(), self.message or "the agent reported a failure")
        return self._judge_success(code)

    def _judge_success(self, code: int | None) -> Outcome:
        """Judge a run whose last word was success."""
        if code:
            return Outcome("failed", code, "exit_nonzero", f"reported success, but ended with exit code {code}")
        if self.refused:
            tools = ", ".join(sorted(self.refused))
            return Outcome("failed", code, "permission_denied", f"not allowed: {tools}; {_REFUSED_STEP}")
        if self._did_nothing():
            message = "it ended its turn without asking a model" + (f": {self.message}" if self.message else "")
            return Outcome("failed", code, "no_result", message)
        return Outcome("succeeded", 0)

    def _cause(self) -> str:
        if self.status in _AUTH:
            return "auth"
        return "rate_limited" if self.status in _LIMITS else "agent_error"
