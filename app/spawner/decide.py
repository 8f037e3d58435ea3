"""The spawner's decision, as a pure function: demand against supply.

A job that no worker of this backend could run starts nothing. Free slots of live workers, and of those that were
asked for and have not come yet, are counted against the demand before new workers are asked for, so that repeating
the decision asks for nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from db.model import Demand, Resources
from db.spawning import Situation, Supply

_TAKES_JOBS = frozenset({"starting", "idle", "busy"})


@dataclass(frozen=True, slots=True)
class Offer:
    """What each worker of a backend offers."""

    capabilities: frozenset[str]
    resources: Resources
    slots: int = 1

    def meets(self, demand: Demand) -> bool:
        """Whether a fresh worker could run a job of this demand."""
        return demand.needs <= self.capabilities and fits(demand.resources, self.resources)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many workers at most; idle seconds after which one is ended; seconds until a start is given up."""

    max_workers: int = 8
    idle_seconds: float = 60.0
    start_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers to start, whom to drain, and which requests to forget."""

    start: int
    drain: tuple[str, ...]
    forget: tuple[str, ...]


def decide(situation: Situation, offer: Offer, limits: Limits, backend: str) -> Decision:
    """Compare demand with supply."""
    forget = tuple(
        worker.worker_id
        for worker in situation.workers
        if worker.backend == backend
        and worker.state == "starting"
        and worker.requested_seconds_ago > limits.start_seconds
    )
    alive = [worker for worker in situation.workers if worker.worker_id not in forget]
    ours = [worker for worker in alive if worker.backend == backend]
    unmet = _unmet([demand for demand in situation.demands if offer.meets(demand)], alive)
    keep = sum(scale.count for scale in situation.scales if scale.capabilities <= offer.capabilities)
    taking = sum(1 for worker in ours if worker.state in _TAKES_JOBS)
    wanted = max(-(-unmet // offer.slots), keep - taking)
    start = max(0, min(wanted, limits.max_workers - len(ours)))
    return Decision(start, _idle(ours, taking - keep, unmet, limits), forget)


def _unmet(demands: Sequence[Demand], workers: Sequence[Supply]) -> int:
    """Count the jobs for which no free slot is left, giving each job the first slot that fits."""
    free = {worker.worker_id: worker.free_slots for worker in workers if worker.state in _TAKES_JOBS}
    unmet = 0
    for demand in demands:
        left = demand.jobs
        for worker in workers:
            slots = free.get(worker.worker_id, 0)
            if slots and demand.needs <= worker.capabilities and fits(demand.resources, worker.free):
                taken = min(slots, left)
                free[worker.worker_id] -= taken
                left -= taken
        unmet += left
    return unmet


def _idle(ours: Sequence[Supply], spare: int, unmet: int, limits: Limits) -> tuple[str, ...]:
    if unmet or spare <= 0:
        return ()
    idle = sorted(
        (worker for worker in ours if worker.state == "idle" and worker.idle_seconds > limits.idle_seconds),
        key=lambda worker: -worker.idle_seconds,
    )
    return tuple(worker.worker_id for worker in idle[:spare])


def fits(need: Resources, free: Resources) -> bool:
    """Whether what is needed is free."""
    return need.cpu <= free.cpu and need.memory <= free.memory and need.gpu <= free.gpu
