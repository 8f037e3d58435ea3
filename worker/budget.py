"""The budget of one job: what it may use over all of its attempts, and what happens when it has used that.

Agents report what they use at different times: some after each call of the model, some only when a turn ends. A limit
that is reached while tools are used stops the agent once its tool has ended. One that is reached by the end of a turn
changes nothing about that turn, but no other turn begins. Then a person is asked, or the job fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from worker.agents.events import total
from worker.agents.requests import AgentQuestion, PersonsAnswer
from worker.agents.verdict import BUDGET, Outcome

RAISED = "You were stopped because a limit was reached. A person has raised it: go on with the task where you stopped."
"""The words with which the agent's next turn begins after its budget was raised."""

_NEW_TOKENS = ("inputTokens", "outputTokens", "cacheWriteTokens")
_LIMITS = {
    "costUsd": ("US dollars", "--max-cost"),
    "tokens": ("tokens", "--max-tokens"),
    "turns": ("turns", "--max-turns"),
}
_OPTIONS = ({"id": "raise", "label": "Raise the limit"}, {"id": "stop", "label": "Stop the job"})

Ask = Callable[[AgentQuestion], Awaitable[PersonsAnswer]]


class JobBudget:
    """The limits of a job, and what its attempts have used; a job without a budget has no limits."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        wish, before = job.get("budget") or {}, job.get("spent") or {}
        self._steps = {name: float(wish[name]) for name in _LIMITS if wish.get(name) is not None}
        self._raised = dict.fromkeys(self._steps, 0) | {
            name: count for name, count in (before.get("raised") or {}).items() if name in self._steps
        }
        self._before = {name: float(before.get(name, 0)) for name in _LIMITS}
        self._is_stopped = bool(before.get("stopped"))
        self._asks = wish.get("onBudget", "ask") == "ask"
        self._usages: Sequence[Mapping[str, Any]] = ()
        self.turns = 0
        """The turns of this attempt so far."""
        self._is_in_turn = False

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self._steps)

    @property
    def spent(self) -> dict[str, float]:
        """What all attempts have used, by the names of limits."""

        def used(*names: str) -> float:
            return sum(_amount(usage.get(name)) for usage in self._usages for name in names)

        now = {"costUsd": used("costUsd"), "tokens": used(*_NEW_TOKENS), "turns": float(self.turns)}
        return total(self._before, now)

    @property
    def dollars_left(self) -> float | None:
        """How many dollars the next turn may cost; None: any number."""
        limit = self._limit("costUsd")
        return None if limit is None else max(0.0, limit - self.spent["costUsd"])

    @property
    def reached(self) -> str | None:
        """The name of a limit that is reached, so that no turn may begin."""
        spent = self.spent
        return next((name for name in self._steps if spent[name] >= (self._limit(name) or 0)), None)

    @property
    def is_spent(self) -> bool:
        """Whether a turn that runs must stop: the number of turns only keeps others from beginning."""
        return self.reached not in (None, "turns")

    @property
    def is_last_turn(self) -> bool:
        """Whether no turn may follow the one that runs."""
        limit = self._limit("turns")
        return limit is not None and self.turns + 1 >= limit

    def _limit(self, name: str) -> float | None:
        return self._steps[name] * (1 + self._raised[name]) if name in self._steps else None

    def note(self, *usages: Mapping[str, Any] | None) -> None:
        """Note what this attempt has used so far, as its turns report it."""
        self._usages = [usage for usage in usages if usage]

    def begin_turn(self) -> None:
        """Note that the agent was started."""
        self._is_in_turn = True

    def end_turn(self) -> None:
        """Note that the agent has ended a turn; one process may take several."""
        self.turns += 1
        self._is_in_turn = False

    def resume_turn(self) -> None:
        """Note that a turn that has ended goes on: the model's service had refused in it."""
        self.turns = max(0, self.turns - 1)

    def end_process(self) -> None:
        """Note that the agent's process has ended, maybe before the end of its turn."""
        if self._is_in_turn:
            self.end_turn()

    async def settle(
        self, ask: Ask, report: Callable[[dict[str, Any]], object], *, stopped: bool = False
    ) -> Outcome | None:
        """Return how the attempt ends if no turn may begin; with ``stopped`` the agent says that a limit is reached.

        Each limit that is reached is reported as an event. A person who is asked may raise it.
        """
        while name := self.reached or ("costUsd" if stopped and "costUsd" in self._steps else None):
            stopped = False
            report({"type": "budget", "limit": {name: self._limit(name)}, "spent": self.spent})
            if self._is_stopped or not self._asks:
                return self._failure(name)
            answer = await ask(self._question(name))
            if answer.choice != "raise":
                return self._failure(name, answer)
            self._raised[name] += 1
        return None

    def _question(self, name: str) -> AgentQuestion:
        step, unit = self._steps[name], _LIMITS[name][0]
        key = f"budget:{name}:{self._raised[name]}"  # the server counts the raised limits by it
        text = f"The job has used {self._amounts(name)}. May it use another {step:g} {unit}?"
        return AgentQuestion(key, "budget", text, options=_OPTIONS)

    def _failure(self, name: str, answer: PersonsAnswer | None = None) -> Outcome:
        why = ""
        if answer is not None:
            why = f"; {answer.unanswered}" if answer.unanswered else f"; {answer.by or 'a person'} stopped it"
        option = _LIMITS[name][1]
        message = f"the job has used {self._amounts(name)}{why}; run it again with a larger {option}"
        return Outcome("failed", None, BUDGET, message)

    def _amounts(self, name: str) -> str:
        return f"{self.spent[name]:.12g} of {self._limit(name):.12g} {_LIMITS[name][0]}"


def _amount(value: Any) -> float:
    """Return an amount that an agent reported; one that is no amount counts as nothing."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0.0
