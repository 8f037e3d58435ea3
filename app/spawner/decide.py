"""The decision of a spawner of processes, as a pure function of demand and supply.

A job that no worker of this backend could run starts nothing. The jobs that fit on live workers, and on workers that
were requested and have not registered yet, are subtracted from the demand. So repeating the decision requests nothing
twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.spawner.autoscale import RangeDecision, admit, jobs_of, judge
from db.autoscale import SurplusNote
from db.model import Demand, ResourceAmounts
from db.spawning import FleetSnapshot, FleetWorker

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
    """How many workers to start, which idle ones to drain, and which requests to forget."""

    start: int
    drain: tuple[str, ...]
    forget: tuple[str, ...]
    drain_busy: tuple[str, ...] = ()
    """Workers over a maximum that was lowered; they end after their jobs."""
    notes: tuple[SurplusNote, ...] = ()


def decide(snapshot: FleetSnapshot, spec: WorkerSpec, limits: SpawnerLimits, backend: str) -> Decision:
    """Compare demand with supply."""
    forget = tuple(
        worker.worker_id
        for worker in snapshot.workers
        if worker.backend == backend
        and worker.state == "starting"
        and worker.requested_seconds_ago > limits.start_seconds
    )
    alive = [worker for worker in snapshot.workers if worker.worker_id not in forget]
    ours = [worker for worker in alive if worker.backend == backend]
    takers = [worker for worker in alive if worker.state in TAKES_JOBS]
    missing, after = fill(snapshot.demands, takers)
    decisions = [
        judge(one, jobs_of(one, snapshot.demands), jobs_of(one, missing), spec.slots)
        for one in snapshot.ranges
        if one.covers(spec.capabilities)
    ]
    kept = sum(scale.count for scale in snapshot.scales if scale.capabilities <= spec.capabilities)
    taking = sum(1 for worker in ours if worker.state in TAKES_JOBS)
    room = min([max(0, limits.max_workers - len(ours)), *(decision.room for decision in decisions)])
    _, filled = fill(admit(missing, decisions), [_new(spec)] * room)
    for_jobs = sum(worker.free_slots < spec.slots for worker in filled)
    start = min(room, max([for_jobs, kept - taking, *(decision.minimum for decision in decisions)]))
    if decisions:
        drain, drain_busy = _retired(ours, taking - kept, decisions)
    else:
        waits = any(demand.jobs for demand in missing)
        unused = {worker.worker_id for worker in untouched(takers, after)}
        spare = [worker for worker in ours if worker.worker_id in unused] if waits else ours
        drain, drain_busy = _longest_idle(spare, taking - kept, limits.idle_seconds), ()
    notes = [decision.note(retired=bool(drain)) for decision in decisions]
    return Decision(start, drain, forget, drain_busy, tuple(note for note in notes if note is not None))


def _new(spec: WorkerSpec) -> FleetWorker:
    return FleetWorker(
        worker_id="",
        state="starting",
        backend=None,
        host=None,
        capabilities=spec.capabilities,
        free_slots=spec.slots,
        free=spec.resources,
        requested_seconds_ago=0,
        idle_seconds=0,
    )


def can_run(demand: Demand, worker: FleetWorker) -> bool:
    """Whether a worker has room for a job of the demand, as ``ado.lacks`` says of workers as they are.

    The plan asks it of workers as they will be, with jobs that are not claimed yet.
    """
    need, free = demand.resources, worker.free
    fits = need.cpu <= free.cpu and need.memory <= free.memory and need.gpu <= free.gpu
    return fits and worker.free_slots > 0 and demand.needs <= worker.capabilities


def fill(demands: Sequence[Demand], workers: Sequence[FleetWorker]) -> tuple[list[Demand], list[FleetWorker]]:
    """Give each job the first worker that has room; return what is left of the demands and of the workers."""
    left, filled = [], list(workers)
    for demand in demands:
        jobs = demand.jobs
        for position in range(len(filled)):
            while jobs and can_run(demand, filled[position]):
                filled[position] = filled[position].with_job(demand.resources)
                jobs -= 1
        left.append(replace(demand, jobs=jobs))
    return left, filled


def untouched(workers: Sequence[FleetWorker], filled: Sequence[FleetWorker]) -> list[FleetWorker]:
    """Return the workers with a free slot that ``fill`` gave no job, so that no job that is left can run there.

    While jobs wait, only these may end: otherwise they would keep the places of workers that could run the jobs.
    """
    return [before for before, after in zip(workers, filled, strict=True) if before == after and before.free_slots > 0]


def _retired(
    ours: Sequence[FleetWorker], spare: int, decisions: Sequence[RangeDecision]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the idle and the busy workers to drain: a process is retired when each of its ranges allows it."""
    excess = max(decision.excess for decision in decisions)
    idle = _longest_idle(ours, max(excess, min([spare, *(decision.retire for decision in decisions)])))
    busy = [worker.worker_id for worker in ours if worker.state == "busy"]
    return idle, tuple(busy[: max(0, excess - len(idle))])


def _longest_idle(ours: Sequence[FleetWorker], spare: int, idle_seconds: float = -1.0) -> tuple[str, ...]:
    idle = sorted(
        (worker for worker in ours if worker.state == "idle" and worker.idle_seconds > idle_seconds),
        key=lambda worker: -worker.idle_seconds,
    )
    return tuple(worker.worker_id for worker in idle[: max(0, spare)])
