"""The decision about pods, as a pure function: which jobs get one, how many warm ones to keep, which to end.

A job that has a pod gets no other. Free slots of workers that are there are counted first, in the order of the queue;
a warm pod counts once its worker has registered, and not before: nobody knows whether it ever will.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.spawner.decide import fits
from db.model import Resources
from db.pods import PodRow, PodSituation, PodWish, Waiting
from db.spawning import Supply


@dataclass(frozen=True, slots=True)
class PodLimits:
    """Most pods in the namespace, the size of one whose job asks for nothing, and idle seconds."""

    max_pods: int
    default: Resources
    idle_seconds: float

    def size(self, asked: Resources) -> Resources:
        """Return the size of a pod for a job; what it does not ask for is the default."""
        return Resources(asked.cpu or self.default.cpu, asked.memory or self.default.memory, asked.gpu)


@dataclass(frozen=True, slots=True)
class Plan:
    """Pods for jobs, warm pods by what they are kept for, and the names of pods to remove."""

    jobs: tuple[PodWish, ...]
    warm: tuple[tuple[frozenset[str], int], ...]
    surplus: tuple[str, ...]


def plan(situation: PodSituation, offered: frozenset[str], limits: PodLimits) -> Plan:
    """Compare demand with supply."""
    room = max(0, limits.max_pods - len(situation.pods))
    unserved = _unserved(situation.waiting, _free(situation))
    wishes = tuple(PodWish(job.key, limits.size(job.resources)) for job in unserved[:room])
    room -= len(wishes)
    surplus = [pod.name for pod in situation.pods if _is_done_for(pod, limits)]
    warm = []
    kept = [pod for pod in situation.pods if pod.key is None and pod.state in ("wanted", "placed")]
    for scale in situation.scales:
        if not scale.capabilities <= offered:
            continue
        mine = [pod for pod in kept if pod.capabilities == scale.capabilities and pod.name not in surplus]
        missing = min(room, scale.count - len(mine))
        if missing > 0:
            warm.append((scale.capabilities, missing))
            room -= missing
        elif not unserved:
            surplus += [pod.name for pod in sorted(mine, key=_usefulness)[: len(mine) - scale.count]]
    return Plan(wishes, tuple(warm), tuple(surplus))


def _free(situation: PodSituation) -> list[Supply]:
    """Return the workers that will take whatever fits: those of no pod, and those of warm pods that are ready."""
    pods = {pod.name: pod for pod in situation.pods}
    return [
        worker
        for worker in situation.workers
        if worker.state in ("idle", "busy", "starting")
        and (
            (pod := pods.get(worker.worker_id)) is None
            or (pod.key is None and pod.state == "placed" and worker.state == "idle")
        )
    ]


def _unserved(waiting: Sequence[Waiting], workers: Sequence[Supply]) -> list[Waiting]:
    slots = {worker.worker_id: worker.free_slots for worker in workers}
    unserved = []
    for job in waiting:
        for worker in workers:
            if slots[worker.worker_id] > 0 and job.needs <= worker.capabilities and fits(job.resources, worker.free):
                slots[worker.worker_id] -= 1
                break
        else:
            unserved.append(job)
    return unserved


def _is_done_for(pod: PodRow, limits: PodLimits) -> bool:
    """Whether a pod has nothing left to do: its job ended or runs elsewhere, or its worker idles on.

    A dead worker is judged by its pod (see ``diagnosis``), because people are told where it died.
    """
    if pod.state not in ("wanted", "placed"):
        return False
    works = pod.holds and pod.job_status == "running"
    if works:
        return False
    if pod.key is not None and not pod.claimed:
        return pod.job_status != "queued"
    return pod.claimed and pod.idle_seconds > limits.idle_seconds


def _usefulness(pod: PodRow) -> tuple[bool, float]:
    return (pod.worker_state == "idle", -pod.age_seconds)
