"""The decision about pods, as a pure function: which jobs get one, how many warm ones to keep, which to end.

A job that has a pod gets no other. What workers have free is counted first, in the order of the queue. A warm pod
counts once its worker has registered, not before, because it may never register. Ranges limit what is started, and
say when warm pods end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.spawner.autoscale import RangeDecision, admit, jobs_of, judge
from app.spawner.decide import TAKES_JOBS, fill, untouched
from db.autoscale import SurplusNote
from db.model import Demand, ResourceAmounts
from db.pods import PodlessJob, PodRequest, PodRow, PodSnapshot
from db.spawning import FleetWorker


@dataclass(frozen=True, slots=True)
class PodLimits:
    """Most pods in the namespace, the size of one whose job asks for nothing, and idle seconds."""

    max_pods: int
    default: ResourceAmounts
    idle_seconds: float

    def size(self, requested: ResourceAmounts) -> ResourceAmounts:
        """Return the size of a pod for a job; the default stands in for what the job does not request."""
        return ResourceAmounts(
            requested.cpu or self.default.cpu, requested.memory or self.default.memory, requested.gpu
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Pods for jobs, warm pods by what they are kept for, and the names of pods to remove."""

    jobs: tuple[PodRequest, ...]
    warm: tuple[tuple[frozenset[str], int], ...]
    surplus: tuple[str, ...]
    notes: tuple[SurplusNote, ...] = ()


def plan(snapshot: PodSnapshot, offered: frozenset[str], limits: PodLimits) -> Plan:
    """Compare demand with supply."""
    decisions = _judged(snapshot)
    room = max(0, limits.max_pods - len(snapshot.pods))
    podless, unused = _podless(snapshot)
    admitted = zip(podless, admit([job.demand for job in podless], decisions), strict=True)
    served = [job for job, demand in admitted if demand.jobs][:room]
    requests = tuple(PodRequest(job.key, limits.size(job.demand.resources)) for job in served)
    surplus = [pod.name for pod in snapshot.pods if _is_finished(pod, limits)]
    warm = _WarmPods(snapshot, decisions, room - len(served), surplus)
    warm.count([job.demand for job in served])
    for capabilities in warm.kinds(offered):
        warm.decide(capabilities, unused=unused if podless else None)
    return Plan(requests, tuple(warm.started), tuple(surplus + warm.ended), warm.notes())


def closed(snapshot: PodSnapshot, offered: frozenset[str]) -> frozenset[str]:
    """Return the capabilities for which no job gets a pod now, whatever waits."""
    shut = [decision.range.capability for decision in _judged(snapshot) if not decision.jobs]
    return offered if "" in shut else frozenset(shut)


class _WarmPods:
    """Which warm pods to start and to end, one kind after another; a kind is what its pods are kept for."""

    def __init__(
        self, snapshot: PodSnapshot, decisions: Sequence[RangeDecision], room: int, finished: Sequence[str]
    ) -> None:
        self._decisions = decisions
        self._room = room
        self._rooms = [decision.room for decision in decisions]
        self._excess = [decision.excess for decision in decisions]
        self._scales = {scale.capabilities: scale.count for scale in snapshot.scales}
        self._pods = [
            pod
            for pod in snapshot.pods
            if pod.key is None and pod.state in ("wanted", "placed") and pod.name not in finished
        ]
        self._retired: set[str] = set()
        self.started: list[tuple[frozenset[str], int]] = []
        self.ended: list[str] = []

    def count(self, demands: Sequence[Demand]) -> None:
        """Take what jobs' own pods need from the room of the ranges."""
        for place, decision in enumerate(self._decisions):
            self._rooms[place] -= jobs_of(decision.range, demands)

    def kinds(self, offered: frozenset[str]) -> list[frozenset[str]]:
        """Return what pods are kept for: by scales, by ranges, or until now."""
        asked = [*self._scales, *(_kind(decision) for decision in self._decisions)]
        kinds = dict.fromkeys((*asked, *(pod.capabilities for pod in self._pods)))
        return [kind for kind in kinds if kind <= offered]

    def decide(self, kind: frozenset[str], *, unused: frozenset[str] | None) -> None:
        """Start or end pods of one kind.

        ``unused``: a job waits for a pod, and these ready pods cannot run it. Then only a range ends others.
        """
        pods = [pod for pod in self._pods if pod.capabilities == kind]
        own = next((decision for decision in self._decisions if _kind(decision) == kind), None)
        about = [place for place, decision in enumerate(self._decisions) if decision.range.covers(kind)]
        spare = len(pods) - self._scales.get(kind, 0)
        missing = min([self._room, max(-spare, own.minimum if own else 0), *(self._rooms[place] for place in about)])
        if missing > 0:
            self.started.append((kind, missing))
            self._room -= missing
            for place in about:
                self._rooms[place] -= missing
            return
        most = max([0, *(self._excess[place] for place in about)])
        if own:
            most = max(most, min(spare, own.retire))
        elif unused is None:
            most = max(most, spare)
        elif not most:
            pods = [pod for pod in pods if pod.name in unused]
            most = max(0, spare)
        ended = [pod.name for pod in sorted(pods, key=_usefulness)[:most]]
        for place in about:
            self._excess[place] -= len(ended)
        if own and ended:
            self._retired.add(own.range.capability)
        self.ended += ended

    def notes(self) -> tuple[SurplusNote, ...]:
        """Return what the ranges have to remember."""
        notes = [decision.note(retired=decision.range.capability in self._retired) for decision in self._decisions]
        return tuple(note for note in notes if note is not None)


def _kind(decision: RangeDecision) -> frozenset[str]:
    """Return what the pods are kept for that a range asks for."""
    return frozenset({decision.range.capability} - {""})


def _judged(snapshot: PodSnapshot) -> list[RangeDecision]:
    """Judge the ranges by the jobs that have no pod."""
    podded = Counter(
        pod.capabilities
        for pod in snapshot.pods
        if not pod.claimed and pod.job_status == "queued" and pod.state in ("wanted", "placed")
    )
    demands = []
    for demand in snapshot.demands:
        own = min(demand.jobs, podded[demand.needs])
        podded[demand.needs] -= own
        demands.append(replace(demand, jobs=demand.jobs - own))
    missing, _ = fill(demands, _free_workers(snapshot))
    return [judge(one, jobs_of(one, demands), jobs_of(one, missing)) for one in snapshot.ranges]


def _podless(snapshot: PodSnapshot) -> tuple[list[PodlessJob], frozenset[str]]:
    """Return the jobs that no free worker takes, in the order of the queue, and the workers that take none."""
    free = _free_workers(snapshot)
    left, filled = fill([job.demand for job in snapshot.waiting], free)
    podless = [job for job, demand in zip(snapshot.waiting, left, strict=True) if demand.jobs]
    return podless, frozenset(worker.worker_id for worker in untouched(free, filled))


def _free_workers(snapshot: PodSnapshot) -> list[FleetWorker]:
    """Return the workers that take any job: those without a pod, and those of warm pods that are ready."""
    pods = {pod.name: pod for pod in snapshot.pods}
    return [
        worker
        for worker in snapshot.workers
        if worker.state in TAKES_JOBS
        and (
            (pod := pods.get(worker.worker_id)) is None
            or (pod.key is None and pod.state == "placed" and worker.state == "idle")
        )
    ]


def _is_finished(pod: PodRow, limits: PodLimits) -> bool:
    """Whether a pod has nothing left to do: its job ended or runs elsewhere, or its worker has been idle for long.

    A worker is also idle while its job waits for an unhealthy agent; the job gets another pod later.

    ``pod_diagnosis`` judges a dead worker by its pod, so that users learn where it died.
    """
    if pod.state not in ("wanted", "placed") or (pod.holds and pod.job_status == "running"):
        return False
    if pod.key is not None and not pod.claimed:
        return pod.job_status != "queued" or (pod.waits_for_agent and pod.idle_seconds > limits.idle_seconds)
    return pod.claimed and pod.idle_seconds > limits.idle_seconds


def _usefulness(pod: PodRow) -> tuple[bool, float]:
    """Sort pods that are still starting before ready ones, and old ones before young ones."""
    return (pod.worker_state == "idle", -pod.age_seconds)
