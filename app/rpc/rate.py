"""A rate limit with a burst, in constant memory (the generic cell rate algorithm)."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimit:
    """Allows ``rate`` events a second, and ``burst`` of them at once."""

    __slots__ = ("_burst", "_clock", "_due", "_step")

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = 1 / rate
        self._burst = burst * self._step
        self._clock = clock
        self._due = 0.0
        """The time at which all events so far would have happened at exactly this rate."""

    def take(self) -> float:
        """Count an event; return how many seconds too early it came, 0 for an allowed one."""
        now = self._clock()
        # Excess events are not added up: after a flood its sender waits for one step, not for the whole flood.
        self._due = min(max(self._due, now) + self._step, now + self._burst + self._step)
        return self.remaining()

    def remaining(self) -> float:
        """Return how many seconds remain until the last event would have been allowed."""
        return max(0.0, self._due - self._clock() - self._burst)
