"""The decision of a spawner of processes, as a pure function of demand and supply.

A job that no worker of this backend could run starts nothing. The free slots of live workers and of workers that were
requested and have not registered yet are subtracted from the demand. So repeating the decision requests nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from db.model import Demand, ResourceAmounts
from db.spawning import Situation, Supply

TAKES_JOBS = frozenset({"starting", "idle", "busy"})
"""States of workers that claim jobs, or will."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What each worker of a backend offers."""

    capabilities: frozenset[str]
    resources: ResourceAmounts
    slots: int = 1


@dataclass(frozen=True, slots=True)
class SpawnerLimits:
    """How many workers at most; idle seconds after which one is ended; seconds until a start is given up."""

    max_workers: int = 8
    idle_seconds: float = 60.0
    start_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Decision:
    """How many workers to start, which to drain, and which requests to forget."""

    start: int
    drain: tuple[str, ...]
    forget: tuple[str, ...]


def decide(situation: Situation, spec: WorkerSpec, limits: SpawnerLimits, backend: str) -> Decision:
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
    demands = [demand for demand in situation.demands if can_run(demand, spec.capabilities, spec.resources)]
    missing = sum(unserved(demands, [worker for worker in alive if worker.state in TAKES_JOBS]))
    kept = sum(scale.count for scale in situation.scales if scale.capabilities <= spec.capabilities)
    taking = sum(1 for worker in ours if worker.state in TAKES_JOBS)
    wanted = max(-(-missing // spec.slots), kept - taking)
    start = max(0, min(wanted, limits.max_workers - len(ours)))
    return Decision(start, () if missing else _longest_idle(ours, taking - kept, limits), forget)


def can_run(demand: Demand, capabilities: frozenset[str], free: ResourceAmounts) -> bool:
    """Whether a worker with these capabilities and free resources can run a job of the demand.

    The statements say the same in SQL: ``ado.queue_groups`` and ``ado.take_heads`` for claims, ``ado.why_pending``.
    """
    need = demand.resources
    return demand.needs <= capabilities and need.cpu <= free.cpu and need.memory <= free.memory and need.gpu <= free.gpu


def unserved(demands: Sequence[Demand], workers: Sequence[Supply]) -> list[int]:
    """Return for each demand how many of its jobs get no free slot, if each job takes the first slot that fits."""
    free_slots = {worker.worker_id: worker.free_slots for worker in workers}
    counts = []
    for demand in demands:
        left = demand.jobs
        for worker in workers:
            if can_run(demand, worker.capabilities, worker.free):
                taken = min(free_slots[worker.worker_id], left)
                free_slots[worker.worker_id] -= taken
                left -= taken
        counts.append(left)
    return counts


def _longest_idle(ours: Sequence[Supply], spare: int, limits: SpawnerLimits) -> tuple[str, ...]:
    idle = sorted(
        (worker for worker in ours if worker.state == "idle" and worker.idle_seconds > limits.idle_seconds),
        key=lambda worker: -worker.idle_seconds,
    )
    return tuple(worker.worker_id for worker in idle[: max(0, spare)])
