"""Exponential back-off with jitter."""

from __future__ import annotations

import random


class Backoff:
    """The pauses between the tries of one thing, in seconds.

    ``jitter`` is the part of each pause that chance decides: 0 gives exact pauses, 1 gives any time up to the pause.
    Clients that lost the same server must not reconnect at the same moment.
    """

    def __init__(self, first: float = 0.05, longest: float = 2.0, *, jitter: float = 0.5) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._pause = first

    def next(self) -> float:
        """Return the seconds to wait now; the next pause is twice as long."""
        pause = min(self._longest, self._pause)
        self._pause = pause * 2
        return pause * (1 - self._jitter * random.random())  # noqa: S311 - nothing secret depends on it

    def reset(self) -> None:
        """Start again with the first pause, because a try succeeded."""
        self._pause = self._first
