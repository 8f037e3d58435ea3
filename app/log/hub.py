"""Who waits for what on this replica.

A hint wakes a waiter; the waiter then reads the tables. So a needless wake-up costs one query, and a missed one costs
at most one poll interval. ``Wakeup`` keeps a hint that comes between two waits.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

_SEQS = 100  # that a waiter keeps; one that is so far behind reads the log anyway


class Wakeup:
    """One waiter's flag."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.seqs: set[float] = set()
        """The events that hints have named since the waiter cleared this; an infinite one for anything else."""

    def set(self, seq: float = math.inf) -> None:
        """Wake the waiter, now or at its next wait."""
        self.seqs.add(seq if len(self.seqs) < _SEQS else math.inf)
        self._event.set()

    async def wait(self, timeout: float) -> bool:
        """Wait for a hint, at most ``timeout`` seconds; return whether there was one."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Hub:
    """The waiters by key.

    Keys are ``("e", task)`` (events), ``("w", worker)``, ``("i", job)`` (input), ``("a", question)`` (its answer),
    ``("h", probe)`` (health), ``"q"`` (queue) and ``"s"`` (system).
    """

    def __init__(self) -> None:
        self._waiters: defaultdict[Hashable, set[Wakeup]] = defaultdict(set)

    @contextmanager
    def waiting(self, *keys: Hashable) -> Iterator[Wakeup]:
        """Register a waiter for some keys for as long as the block runs."""
        wakeup = Wakeup()
        for key in keys:
            self._waiters[key].add(wakeup)
        try:
            yield wakeup
        finally:
            for key in keys:
                self._waiters[key].discard(wakeup)
                if not self._waiters[key]:
                    del self._waiters[key]

    def anybody_for(self, kind: str) -> bool:
        """Whether anybody waits for a key of this kind."""
        return any(isinstance(key, tuple) and key[0] == kind for key in self._waiters)

    def wake(self, key: Hashable, seq: float = math.inf) -> None:
        """Wake everybody who waits for a key."""
        for wakeup in self._waiters.get(key, ()):
            wakeup.set(seq)

    def wake_all(self) -> None:
        """Wake everybody, because hints may have been missed."""
        for waiters in self._waiters.values():
            for wakeup in waiters:
                wakeup.set()

    def receive(self, hints: list[str]) -> None:
        """Turn a notification's hints into wake-ups."""
        for hint in hints:
            kind, _, rest = hint.partition(":")
            if kind == "e":
                task_id, _, seq = rest.partition(":")
                self.wake(("e", int(task_id)), int(seq))
            elif kind in ("w", "h", "i", "a"):
                self.wake((kind, rest))
            else:
                self.wake(kind)
            if kind not in ("h", "i", "a"):  # none of them changes what the system looks like
                self.wake("s")
