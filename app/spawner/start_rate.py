"""How many workers may be started now: fewer and later when those before ended as soon as they had begun."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from app.spawner.backends.base import Gone

_log = logging.getLogger("ado.spawner")
_AT_START_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


class Starts:
    """Counts workers that ended at their start; one that ran longer, or ended well, ends the count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._resume_at = 0.0

    def note(self, gone: Gone) -> None:
        """Take note of an end."""
        if gone.code == 0 or gone.seconds > _AT_START_SECONDS:
            self._failures = 0
            return
        if self._clock() < self._resume_at:  # it was started together with one that has been counted
            return
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures)
        self._failures += 1
        self._resume_at = self._clock() + pause
        _log.error(
            "worker ended at its start; its own message stands above",
            extra={"worker": gone.worker_id, "code": gone.code, "failures": self._failures, "next_in_seconds": pause},
        )

    def allowed(self) -> int:
        """Return how many workers may be started now: one for a try after a failure."""
        if self._clock() < self._resume_at:
            return 0
        return 1 if self._failures else sys.maxsize
