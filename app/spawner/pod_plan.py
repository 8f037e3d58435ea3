"""The decision about pods, as a pure function: which jobs get one, how many warm ones to keep, which to end.

A job that has a pod gets no other. What workers have free is counted first, in the order of the queue. A warm pod
counts once its worker has registered, not before, because it may never register.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.spawner.decide import TAKES_JOBS, fill
from db.model import ResourceAmounts
from db.pods import PodRequest, PodRow, PodSituation
from db.spawning import Supply


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


def plan(situation: PodSituation, offered: frozenset[str], limits: PodLimits) -> Plan:
    """Compare demand with supply."""
    room = max(0, limits.max_pods - len(situation.pods))
    left, _ = fill([job.demand for job in situation.waiting], _free_workers(situation))
    podless = [job for job, demand in zip(situation.waiting, left, strict=True) if demand.jobs]
    requests = tuple(PodRequest(job.key, limits.size(job.demand.resources)) for job in podless[:room])
    room -= len(requests)
    surplus = [pod.name for pod in situation.pods if _is_finished(pod, limits)]
    warm = []
    warm_pods = [pod for pod in situation.pods if pod.key is None and pod.state in ("wanted", "placed")]
    for scale in situation.scales:
        if not scale.capabilities <= offered:
            continue
        pods = [pod for pod in warm_pods if pod.capabilities == scale.capabilities and pod.name not in surplus]
        missing = min(room, scale.count - len(pods))
        if missing > 0:
            warm.append((scale.capabilities, missing))
            room -= missing
        elif not podless:
            surplus += [pod.name for pod in sorted(pods, key=_usefulness)[: len(pods) - scale.count]]
    return Plan(requests, tuple(warm), tuple(surplus))


def _free_workers(situation: PodSituation) -> list[Supply]:
    """Return the workers that take any job: those without a pod, and those of warm pods that are ready."""
    pods = {pod.name: pod for pod in situation.pods}
    return [
        worker
        for worker in situation.workers
        if worker.state in TAKES_JOBS
        and (
            (pod := pods.get(worker.worker_id)) is None
            or (pod.key is None and pod.state == "placed" and worker.state == "idle")
        )
    ]


def _is_finished(pod: PodRow, limits: PodLimits) -> bool:
    """Whether a pod has nothing left to do: its job ended or runs elsewhere, or its worker has been idle for long.

    ``pod_diagnosis`` judges a dead worker by its pod, so that users learn where it died.
    """
    if pod.state not in ("wanted", "placed") or (pod.holds and pod.job_status == "running"):
        return False
    if pod.key is not None and not pod.claimed:
        return pod.job_status != "queued"
    return pod.claimed and pod.idle_seconds > limits.idle_seconds


def _usefulness(pod: PodRow) -> tuple[bool, float]:
    """Sort pods that are still starting before ready ones, and old ones before young ones."""
    return (pod.worker_state == "idle", -pod.age_seconds)
