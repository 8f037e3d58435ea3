"""What a pod's status, or the answer to its creation, means for its job; pure.

A container's end counts as soon as its status shows it: the pod's phase follows up to a second later. The kubelet
reports a deadline only on the pod, so that is read first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.core.reasons import POD_REASONS
from app.spawner.backends import refused_pods
from app.spawner.backends.kubernetes import ClusterRefused
from app.spawner.backends.scheduling import may_fit_later
from db.pods import PodAction, PodProblem, PodRow

Fate = Literal["waits", "completed", "lost", "failed"]
"""waits: it may yet run; completed: it ended as it should; lost: it died, but not by its job; failed: it died by its
job, or will never run."""

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_UNLOGGED = frozenset({"no_room", "cluster_away"})
"""Normal waiting is not logged: a burst of jobs on a full cluster would fill every log with it."""
_AT_ONCE = frozenset({"evicted", "node_lost"})
_LOGGED_AFTER_SECONDS = 3.0
_SETTLED_SECONDS = 5.0
"""After an outage of the database the monitor first extends every lease; until then a worker only seems dead."""
_PATIENT_TRIES = 10


@dataclass(frozen=True, slots=True)
class PodDiagnosis:
    """A pod's fate; ``reason`` is empty when nothing is wrong."""

    fate: Fate
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    node: str = ""

    @property
    def problem(self) -> PodProblem:
        """What the pod's row and the job's log say of it."""
        once = self.fate == "waits" and self.reason not in _AT_ONCE
        message = self.message.replace("\0", "\N{REPLACEMENT CHARACTER}")  # Postgres stores none
        return PodProblem(self.reason, message, POD_REASONS[self.reason][1], self.node, once=once)

    def is_due(self, pod: PodRow | PodAction) -> bool:
        """Whether the job's log gets it now: once it has lasted for some seconds; normal waiting never."""
        if not self.reason or self.reason in _UNLOGGED or pod.logged_reason == self.reason:
            return False
        lasted = pod.reason == self.reason and pod.reason_seconds > _LOGGED_AFTER_SECONDS
        return lasted or self.reason in _AT_ONCE


FINE = PodDiagnosis("waits")


def of_pod(pod: Mapping[str, Any]) -> PodDiagnosis:
    """Read a pod's status."""
    status = pod["status"]
    state: Mapping[str, Any] = next((item.get("state", {}) for item in status.get("containerStatuses", ())), {})
    if status.get("reason") == "DeadlineExceeded":
        return PodDiagnosis("failed", "deadline", status.get("message", ""))
    disruption = _condition(pod, "DisruptionTarget")
    terminated = state.get("terminated")
    if terminated or status.get("phase") in ("Succeeded", "Failed"):
        return _ended(status, terminated or {}, disruption)
    if disruption is not None:
        reason = "node_lost" if disruption.get("reason") == "DeletionByTaintManager" else "evicted"
        return PodDiagnosis("waits", reason, disruption.get("message", ""), node=node_of(pod))
    return _pending(pod, state.get("waiting") or {})


def _ended(
    status: Mapping[str, Any], terminated: Mapping[str, Any], disruption: Mapping[str, Any] | None
) -> PodDiagnosis:
    code = terminated.get("exitCode")
    why = terminated.get("reason", "")
    message = terminated.get("message") or status.get("message") or ""
    if why == "OOMKilled":
        return PodDiagnosis("failed", "oom_killed", message or "the container used more memory than its limit", code)
    if why in ("StartError", "ContainerCannotRun"):
        return PodDiagnosis("failed", "start_error", message)
    if disruption is not None or status.get("reason") in ("Evicted", "Preempting", "Shutdown", "Terminated"):
        return PodDiagnosis("lost", "evicted", (disruption or {}).get("message") or message)
    if status.get("phase") == "Succeeded" or code == 0:
        return PodDiagnosis("completed")
    ended = f"the container ended with exit code {code}" if code is not None else "the pod failed"
    return PodDiagnosis("lost", "pod_failed", f"{ended}: {message}" if message else ended)


def _pending(pod: Mapping[str, Any], waiting: Mapping[str, Any]) -> PodDiagnosis:
    why, message = waiting.get("reason", ""), waiting.get("message", "")
    if why == "InvalidImageName":
        return PodDiagnosis("failed", "invalid_image", message)
    if why in _PULL:
        # the kubelet limits its pulls per second and tries again by itself
        return FINE if "pull QPS exceeded" in message else PodDiagnosis("waits", "image_pull", message)
    if why in _CONFIG:
        return PodDiagnosis("waits", "start_error", message)
    scheduled = _condition(pod, "PodScheduled", "False")
    if scheduled is not None and scheduled.get("reason") == "Unschedulable":
        message = scheduled.get("message", "")
        return PodDiagnosis("waits", "no_room" if may_fit_later(message) else "unschedulable", message)
    return FINE


def node_of(pod: Mapping[str, Any]) -> str:
    """Return the name of the pod's node; empty before it has one."""
    return str(pod.get("spec", {}).get("nodeName") or "")


def _condition(pod: Mapping[str, Any], kind: str, status: str = "True") -> Mapping[str, Any] | None:
    for condition in pod["status"].get("conditions", ()):
        if condition["type"] == kind and condition["status"] == status:
            match: Mapping[str, Any] = condition
            return match
    return None


def of_refusal(error: ClusterRefused, task: PodAction, timeouts: PodTimeouts) -> PodDiagnosis:
    """Read why a pod or its Secret was refused. The job fails when an admission rule goes on refusing the pod."""
    fate, reason = refused_pods.of_refusal(error)
    if reason == "admission" == task.reason and task.reason_seconds > timeouts.pending and task.tries > _PATIENT_TRIES:
        fate = "failed"
    return PodDiagnosis("failed" if fate == "failed" else "waits", reason, error.message)


@dataclass(frozen=True, slots=True)
class PodTimeouts:
    """Seconds that a pod may wait for its image, and for anything else."""

    image_pull: float = 30.0
    pending: float = 900.0

    def limit(self, reason: str) -> float:
        """Return for how long a pod may wait for this reason."""
        if reason in (
            "evicted",
            "no_room",
        ):  # about to end; runs once others have ended
            return math.inf
        return self.image_pull if reason in ("image_pull", "start_error") else self.pending


def judge(row: PodRow, pod: Mapping[str, Any], timeouts: PodTimeouts, seen: float = math.inf) -> PodDiagnosis:
    """Return the fate of a placed pod, given what its row remembers.

    ``seen``: for how many seconds this spawner has seen cluster and database without a break. Time in which no spawner
    saw the pod does not count against it.
    """
    diagnosis = of_pod(pod)
    if diagnosis.fate != "waits":
        return _unless_done(row, diagnosis)
    if row.worker_state == "dead" and not _works(row) and seen > _SETTLED_SECONDS:
        return _silent(diagnosis, node_of(pod))
    if not diagnosis.reason:
        return _unregistered(row, timeouts, seen)
    if diagnosis.reason == "node_lost":  # the worker may still run on a node that is cut off, so its lease decides
        return replace(diagnosis, fate="lost") if row.worker_state == "starting" else diagnosis
    if row.reason == diagnosis.reason and min(row.reason_seconds, seen) > timeouts.limit(diagnosis.reason):
        return replace(diagnosis, fate="failed")
    return diagnosis


def _works(row: PodRow) -> bool:
    return row.holds and row.job_status == "running"


def _silent(diagnosis: PodDiagnosis, node: str) -> PodDiagnosis:
    """Name the node of a worker whose lease ran out although the cluster says that its container runs."""
    if diagnosis.reason == "node_lost":
        return replace(diagnosis, fate="lost")
    where = f"node {node}" if node else "its node"
    return PodDiagnosis(
        "lost", "node_lost", f"the worker's lease is over, and {where} does not report its end", node=node
    )


def _unless_done(row: PodRow, diagnosis: PodDiagnosis) -> PodDiagnosis:
    """Count no loss if the pod's one job has ended, and no success if the pod never claimed its job."""
    if diagnosis.fate == "lost" and row.claimed and not _works(row):
        # the worker may have handed its job back because the pod was ended: the reason still goes to the job's log
        return PodDiagnosis("completed") if diagnosis.reason == "pod_failed" else replace(diagnosis, fate="completed")
    if diagnosis.fate == "completed" and row.key is not None and not row.claimed:
        return PodDiagnosis("lost", "pod_failed", "the container ended without having claimed its job")
    return diagnosis


def _unregistered(row: PodRow, timeouts: PodTimeouts, seen: float) -> PodDiagnosis:
    silent = min(row.age_seconds, seen)
    if row.reason or row.worker_state != "starting" or silent <= timeouts.pending:  # age: since it last had no problem
        return FINE
    return PodDiagnosis("failed", "pod_silent", f"no worker has registered from it for {silent:.0f} s")


def of_absence(row: PodRow) -> PodDiagnosis:
    """Return the fate of a placed pod that is gone."""
    if row.reason in ("evicted", "node_lost"):  # the log already has the cluster's message
        return _unless_done(row, PodDiagnosis("lost", row.reason, "the pod is gone"))
    return _unless_done(row, PodDiagnosis("lost", "pod_deleted", "the pod was deleted, not by ado"))
