"""Claims that wait on this replica until the queue has a job for them.

A waiting claim sends no queries. One watcher per replica reads what the queue holds, by demand, when a hint comes or a
poll interval has passed. For each job it wakes one claim whose worker can run it, the longest waiting first. A woken
claim that gets nothing waits again, behind the others.

A claim that waits alone is woken by a hint at once, without a look at the queue, because most hints are for a job that
it can run. That saves a round trip. Each call is woken in this way only once, so hints for other workers cost it at
most one try that finds nothing.

The jobs of a task should go to different workers. So a claim that has waited, or that sees others waiting, takes one
job only, and a new claim lets the woken ones go first.
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
class WaitingClaim:
    """One call of ``workers.claim``, and the capabilities for which it may be woken."""

    capabilities: frozenset[str] = frozenset()
    """Empty while the worker cannot take a job from the queue."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    retried: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared by a wake-up; set again at the end of the next try."""
    is_waiting: bool = False
    was_alone: bool = False
    """Whether a hint has woken it without a look at the queue."""

    def wake(self) -> None:
        """Let it try again."""
        self.retried.clear()
        self.woken.set()


def choose(waiting: Sequence[WaitingClaim], demands: Sequence[Demand]) -> list[WaitingClaim]:
    """Choose the claims to wake: for each demand as many matching claims as it has jobs, in the order given."""
    chosen: dict[WaitingClaim, None] = {}
    for demand in demands:
        left = demand.jobs
        for claim in waiting:
            if left == 0:
                break
            if claim not in chosen and demand.needs <= claim.capabilities:
                chosen[claim] = None
                left -= 1
    return list(chosen)


class ClaimWaiters:
    """The claims that a replica is answering, in the order in which they are woken."""

    def __init__(self, db: Database, hub: Hub, *, poll_seconds: float) -> None:
        self._db = db
        self._hub = hub
        self._poll_seconds = poll_seconds
        self._claims: dict[WaitingClaim, None] = {}
        self.closing = False

    @contextmanager
    def joined(self) -> Iterator[WaitingClaim]:
        """Add a claim at the end of the line for as long as the block runs."""
        claim = WaitingClaim()
        claim.retried.set()
        self._claims[claim] = None
        try:
            yield claim
        finally:
            del self._claims[claim]
            claim.retried.set()

    async def wait(self, claim: WaitingClaim, timeout: float) -> None:
        """Wait until the claim is woken, or ``timeout`` seconds; then put it at the end of the line."""
        claim.is_waiting = True
        with suppress(TimeoutError):
            try:
                async with asyncio.timeout(max(0.0, timeout)):
                    await claim.woken.wait()
                claim.woken.clear()
            finally:
                claim.is_waiting = False
        del self._claims[claim]
        self._claims[claim] = None

    async def yield_to_woken(self, claim: WaitingClaim) -> None:
        """Wait until like claims that were woken before have tried again, but at most a poll interval."""
        woken = [other for other in self._claims if not other.retried.is_set() and other is not claim]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds):
                for other in woken:
                    if other.capabilities == claim.capabilities:
                        await other.retried.wait()

    def others_wait(self, claim: WaitingClaim) -> bool:
        """Whether another claim with the same capabilities waits at this moment."""
        return any(other.is_waiting and other.capabilities == claim.capabilities for other in self._claims)

    def close(self) -> None:
        """Let every waiting claim answer, because the replica stops."""
        self.closing = True
        for claim in self._claims:
            claim.woken.set()

    async def watch(self) -> None:
        """Wake matching claims at each hint or poll interval, for as long as there are claims."""
        with self._hub.waiting("q") as hint:
            is_hinted = await hint.wait(self._poll_seconds)
            while self._claims:
                if not (is_hinted and self._wake_alone()):
                    capabilities = frozenset().union(*(claim.capabilities for claim in self._claims))
                    for claim in choose(list(self._claims), await jobs.ready_demands(self._db, capabilities)):
                        claim.wake()
                is_hinted = await hint.wait(self._poll_seconds)

    def _wake_alone(self) -> bool:
        """Wake the only claim if it waits for the queue and was not woken in this way before; return whether it was."""
        claim, *others = self._claims
        if others or claim.was_alone or not (claim.is_waiting and claim.capabilities):
            return False
        claim.was_alone = True
        claim.wake()
        return True
