"""How fast a spawner may call: a token bucket, and a pause when the server asks for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class SpawnerStopping(Exception):
    """The spawner stops, so nothing more is sent."""


class TokenBucket:
    """Gives ``burst`` tokens at once after a quiet time, then ``rate`` a second, and none during a pause."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._tokens = float(burst)
        self._counted_at = clock()
        self._paused_until = 0.0
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def take(self) -> None:
        """Wait for a token and take it. Raises SpawnerStopping."""
        while delay := self.try_take():
            if self._closed.wait(delay):
                raise SpawnerStopping
        if self._closed.is_set():
            raise SpawnerStopping

    def try_take(self) -> float:
        """Take a token and return 0, or return after how many seconds to ask again."""
        with self._lock:
            now = self._clock()
            if now < self._paused_until:
                return self._paused_until - now
            self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._rate)
            self._counted_at = now
            if self._tokens < 1:
                return (1 - self._tokens) / self._rate
            self._tokens -= 1
            return 0.0

    def pause(self, seconds: float) -> None:
        """Give no token for a while, and start again with an empty bucket: no burst follows a pause."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)
            self._tokens = 0.0
            self._counted_at = self._paused_until

    def close(self) -> None:
        """Let every waiting caller give up."""
        self._closed.set()
