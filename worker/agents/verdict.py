"""How a run of an AI agent ended: its last word and its exit code must both say success.

An agent that was stopped half-way may exit 0, one that was refused every tool reports success, and one whose
credentials are wrong calls it a result: so each of these is told apart here, once for all agents.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.agents.base import Outcome
from worker.process import Ended

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

    def outcome(self, ended: Ended) -> Outcome:
        """Judge the run."""
        if ended.error is not None:
            return Outcome("failed", None, "start_failed", ended.error)
        code = 128 + ended.signal if ended.signal is not None else ended.exit_code
        if self.final is None:
            reason = self._cause() if self.status else "no_result"
            return Outcome("failed", code, reason, self.message or f"no final result; exit code {code}")
        if not self.final:
            return Outcome("failed", code, self._cause(), self.message or "the agent reported a failure")
        if code:
            return Outcome("failed", code, "exit_nonzero", f"reported success, but ended with exit code {code}")
        if self.refused:
            tools = ", ".join(sorted(self.refused))
            return Outcome("failed", code, "permission_denied", f"not allowed: {tools}; {_REFUSED_STEP}")
        return Outcome("succeeded", 0)

    def _cause(self) -> str:
        if self.status in _AUTH:
            return "auth"
        return "rate_limited" if self.status in _LIMITS else "agent_error"
