"""How many workers may be started now: after workers that ended at their start, one at a time and later."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from app.spawner.backends.base import EndedWorker

_log = logging.getLogger("ado.spawner")
_AT_START_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


class StartRate:
    """Counts workers that ended at their start; a worker that ran longer or succeeded resets the count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._resume_at = 0.0

    def record(self, ended: EndedWorker) -> None:
        """Record the end of a worker."""
        if ended.code == 0 or ended.seconds > _AT_START_SECONDS:
            self._failures = 0
            return
        if self._clock() < self._resume_at:  # it was started together with one that is counted
            return
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures)
        self._failures += 1
        self._resume_at = self._clock() + pause
        _log.error(
            "worker ended at its start; see its message above",
            extra={"worker": ended.worker_id, "code": ended.code, "failures": self._failures, "next_in_seconds": pause},
        )

    def allowed(self) -> int:
        """Return how many workers may be started now; after a failure only one."""
        if self._clock() < self._resume_at:
            return 0
        return 1 if self._failures else sys.maxsize
