"""Claims that wait for a job: parked here, woken when the queue has something for them.

A parked claim asks the database nothing. One watcher a replica looks at what the queue holds, by demand, when a hint
comes or a poll interval has passed, and wakes as many matching claims as there are jobs, the longest parked first. A
woken claim that finds nothing parks again, behind the others. So that the jobs of a task go to different workers, a
claim that has waited, or that finds others waiting, should take one job alone, and one that comes later gives way until
those that were woken before have had their try.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from app.log.hub import Hub
from db import jobs
from db.database import Database
from db.model import Demand


@dataclass(eq=False, slots=True)
class Parked:
    """One waiting claim and what its worker offers."""

    capabilities: frozenset[str]
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    """Not set from its wake-up to the end of its next try."""
    waiting: bool = False

    def wake(self) -> None:
        """Let it try."""
        self.tried.clear()
        self.woken.set()

    async def wait(self, timeout: float) -> None:
        """Wait to be woken, or ``timeout`` seconds."""
        self.waiting = True
        try:
            async with asyncio.timeout(max(0.0, timeout)):
                await self.woken.wait()
        except TimeoutError:
            return
        finally:
            self.waiting = False
        self.woken.clear()


def choose(parked: Sequence[Parked], demands: Sequence[Demand]) -> list[Parked]:
    """Choose whom to wake: for each demand as many matching claims as it has jobs, in the order given."""
    chosen: dict[Parked, None] = {}
    for demand in demands:
        left = demand.jobs
        for claim in parked:
            if left == 0:
                break
            if claim not in chosen and demand.needs <= claim.capabilities:
                chosen[claim] = None
                left -= 1
    return list(chosen)


class Parking:
    """The parked claims of a replica."""

    def __init__(self, db: Database, hub: Hub, *, poll_seconds: float) -> None:
        self._db = db
        self._hub = hub
        self._poll_seconds = poll_seconds
        self._parked: dict[Parked, None] = {}
        self.closing = False

    @contextmanager
    def place(self, capabilities: frozenset[str]) -> Iterator[Parked]:
        """Give a claim a place at the end of the line for as long as the block runs."""
        claim = Parked(capabilities)
        claim.tried.set()
        self._parked[claim] = None
        try:
            yield claim
        finally:
            del self._parked[claim]
            claim.tried.set()

    def back_to_the_end(self, claim: Parked, capabilities: frozenset[str]) -> None:
        """Move a claim that was woken behind the others."""
        del self._parked[claim]
        self._parked[claim] = None
        claim.capabilities = capabilities

    async def give_way(self, claim: Parked) -> None:
        """Wait, for a poll interval at most, until the claims that were woken before this one came have tried."""
        before = [other for other in self._parked if not other.tried.is_set() and other is not claim]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds):
                for other in before:
                    if other.capabilities == claim.capabilities:
                        await other.tried.wait()

    def others_wait(self, claim: Parked) -> bool:
        """Whether another claim that offers the same waits at this moment."""
        return any(other.waiting and other.capabilities == claim.capabilities for other in self._parked)

    def close(self) -> None:
        """Let every parked claim answer: the replica stops."""
        self.closing = True
        for claim in self._parked:
            claim.woken.set()

    async def watch(self) -> None:
        """Look at the queue once: wait for a hint or the poll interval, then wake who matches."""
        with self._hub.waiting("q") as hint:
            await hint.wait(self._poll_seconds)
            while self._parked:
                offered = frozenset().union(*(claim.capabilities for claim in self._parked))
                for claim in choose(list(self._parked), await jobs.ready_demands(self._db, offered)):
                    claim.wake()
                await hint.wait(self._poll_seconds)
