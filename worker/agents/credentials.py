"""The credentials of one agent on a worker, which an attempt tries in turn.

The first are what the worker has anyway: the variables that the agent knows (``ANTHROPIC_API_KEY``) and the file of a
login. Further ones are the same variables with a number, ``ANTHROPIC_API_KEY_2`` and so on without a gap. Credential n
is every variable that ends in ``_n``; the agent gets them without the number, and no others of its variables. A task
that brings its own credential uses that alone.

What one attempt learns of refusals, the next attempts of the worker process know: each begins with the credential that
is free, or free first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from worker.agents.base import Needs

_MOST = 100
_FILE = "the login on the worker"
_INVALID_SECONDS = 600.0
"""How long a credential that is refused as invalid is remembered: a person may put it right at the service."""


class KnownRefusals:
    """Which credentials of a worker's agents are refused, and until when; one for all attempts of a worker process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, bool]] = {}

    def note(self, program: str, name: str, until: float) -> None:
        """Note that a program's credential is refused until then; infinity: as invalid."""
        is_invalid = until == math.inf
        self._known[program, name] = (self._clock() + _INVALID_SECONDS if is_invalid else until, is_invalid)

    def until(self, program: str, names: Sequence[str]) -> list[float]:
        """Return until when each is refused: 0 if it is not, infinity if it is invalid.

        If none is free, those that were invalid are tried again: one may have been put right.
        """
        now = self._clock()
        known = [self._known.get((program, name), (0.0, False)) for name in names]
        times = [0.0 if until <= now else math.inf if is_invalid else until for until, is_invalid in known]
        return [0.0 if until == math.inf else until for until in times] if all(times) else times


class AgentCredentials:
    """Which credential an attempt uses, and until when each is refused."""

    def __init__(
        self,
        needs: Needs | None,
        held: Mapping[str, str],
        brought: Mapping[str, str],
        refusals: KnownRefusals | None = None,
    ) -> None:
        """Read the credentials from ``held``, the worker's environment; ``brought`` is the task's."""
        self._program = needs.program if needs else ""
        self._variables = tuple(needs.variables) if needs else ()
        first = next((name for name in self._variables if held.get(name)), _FILE)
        self._sets: list[tuple[str, dict[str, str]]] = [(first, {})]
        is_brought = any(name in brought for name in self._variables)
        self._sets += [] if is_brought else self._numbered(held)
        self._refusals = KnownRefusals() if is_brought or refusals is None else refusals
        self._until = self._refusals.until(self._program, [name for name, _ in self._sets])
        self._used = self._until.index(min(self._until))

    def _numbered(self, held: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
        further = []
        for number in range(2, _MOST + 1):
            numbered = {name: held[f"{name}_{number}"] for name in self._variables if held.get(f"{name}_{number}")}
            if not numbered:
                break
            further.append((f"{next(iter(numbered))}_{number}", numbered))
        return further

    @property
    def are_several(self) -> bool:
        """Whether there is more than one."""
        return len(self._sets) > 1

    def values(self, env: Mapping[str, str]) -> list[str]:
        """Return what to mask: the values of further ones, and of those in a job's environment."""
        further = [value for _, values in self._sets for value in values.values()]
        return [*further, *(env[name] for name in self._variables if name in env)]

    @property
    def name(self) -> str:
        """The name of the one that is used."""
        return self._sets[self._used][0]

    def have_another(self, now: float) -> bool:
        """Whether one that is not refused is left besides the one that is used."""
        return any(until <= now for number, until in enumerate(self._until) if number != self._used)

    def applied(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return variables with the credential that is used in place of the worker's first."""
        if self._used == 0:
            return dict(given)
        others = {name: value for name, value in given.items() if name not in self._variables}
        return {**others, **self._sets[self._used][1]}

    def refuse(self, until: float) -> float:
        """Note that the one that is used is refused until then, and use the one that is free first.

        Returns when that is: a time that is over if it can be used now, infinity if all are refused for good. Times
        are as ``time.time`` counts them.
        """
        self._until[self._used] = until
        self._refusals.note(self._program, self.name, until)
        free = min(self._until)
        if free < math.inf:
            self._used = self._until.index(free)
        return free
