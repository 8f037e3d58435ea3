"""How often something may happen: a rate with a burst, in constant memory."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """A rate a second, of which ``burst`` may come at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = 1 / rate
        self._burst = burst * self._step
        self._clock = clock
        self._due = 0.0
        """When everything so far would have happened at the rate alone."""

    def take(self) -> float:
        """Count one; return the seconds by which it comes too early, 0 when it is in time."""
        now = self._clock()
        # A flood must not make its sender wait longer than one step, so what came too early is not added up.
        self._due = min(max(self._due, now) + self._step, now + self._burst + self._step)
        return self.early()

    def early(self) -> float:
        """Return the seconds by which the last one came too early, as far as they have not passed yet."""
        return max(0.0, self._due - self._clock() - self._burst)
