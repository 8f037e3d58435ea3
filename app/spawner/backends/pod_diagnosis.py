"""What a pod's status, or the answer to its creation, means for its job; pure.

A container's end is believed as soon as it is seen: the pod's own phase follows up to a second later. A deadline is
the exception that proves nothing: kubelet names it only in the phase, and no container has ended before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.core.reasons import POD_REASONS
from app.spawner.backends import refused_pods
from app.spawner.backends.kubernetes import Refused
from app.spawner.backends.scheduling import may_fit_later
from db.pods import PodRow, PodTask, Told

Fate = Literal["waits", "over", "lost", "failed"]
"""waits: it may yet run; over: it ended as it should; lost: it died, not by its job; failed: by its job or for good."""

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_UNLOGGED = frozenset({"no_room", "cluster_away"})
"""Plain waiting: a burst of jobs on a full cluster would fill every log with it."""
_AT_ONCE = frozenset({"evicted", "node_lost"})
_LOGGED_AFTER_SECONDS = 3.0
_SETTLED_SECONDS = 5.0
"""After an outage of the database the monitor extends every lease first; only then is a dead worker dead."""
_PATIENT_TRIES = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """A pod's fate; ``reason`` is empty when nothing is wrong."""

    fate: Fate
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    node: str = ""

    @property
    def told(self) -> Told:
        """What the job's log says of it."""
        once = self.fate == "waits" and self.reason not in _AT_ONCE
        message = self.message.replace("\0", "\N{REPLACEMENT CHARACTER}")  # Postgres stores none
        return Told(self.reason, message, POD_REASONS[self.reason][1], self.node, once=once)

    def is_due(self, pod: PodRow | PodTask) -> bool:
        """Return whether the job's log should say it now: not before it has lasted, and plain waiting never."""
        if not self.reason or self.reason in _UNLOGGED or pod.told == self.reason:
            return False
        lasted = pod.reason == self.reason and pod.reason_seconds > _LOGGED_AFTER_SECONDS
        return lasted or self.reason in _AT_ONCE


FINE = Finding("waits")


def of_pod(pod: Mapping[str, Any]) -> Finding:
    """Read a pod."""
    status = pod["status"]
    state: Mapping[str, Any] = next((item.get("state", {}) for item in status.get("containerStatuses", ())), {})
    if status.get("reason") == "DeadlineExceeded":
        return Finding("failed", "deadline", status.get("message", ""))
    disruption = _condition(pod, "DisruptionTarget")
    terminated = state.get("terminated")
    if terminated or status.get("phase") in ("Succeeded", "Failed"):
        return _ended(status, terminated or {}, disruption)
    if disruption is not None:
        reason = "node_lost" if disruption.get("reason") == "DeletionByTaintManager" else "evicted"
        return Finding("waits", reason, disruption.get("message", ""), node=node_of(pod))
    return _pending(pod, state.get("waiting") or {})


def _ended(status: Mapping[str, Any], terminated: Mapping[str, Any], disruption: Mapping[str, Any] | None) -> Finding:
    code = terminated.get("exitCode")
    why = terminated.get("reason", "")
    message = terminated.get("message") or status.get("message") or ""
    if why == "OOMKilled":
        return Finding("failed", "oom_killed", message or "the container used more memory than its limit", code)
    if why in ("StartError", "ContainerCannotRun"):
        return Finding("failed", "start_error", message)
    if disruption is not None or status.get("reason") in ("Evicted", "Preempting", "Shutdown", "Terminated"):
        return Finding("lost", "evicted", (disruption or {}).get("message") or message)
    if status.get("phase") == "Succeeded" or code == 0:
        return Finding("over")
    said = f"the container ended with exit code {code}" if code is not None else "the pod failed"
    return Finding("lost", "pod_failed", f"{said}: {message}" if message else said)


def _pending(pod: Mapping[str, Any], waiting: Mapping[str, Any]) -> Finding:
    why, message = waiting.get("reason", ""), waiting.get("message", "")
    if why == "InvalidImageName":
        return Finding("failed", "invalid_image", message)
    if why in _PULL:
        # kubelet's own limit of pulls a second: it will try again by itself
        return FINE if "pull QPS exceeded" in message else Finding("waits", "image_pull", message)
    if why in _CONFIG:
        return Finding("waits", "start_error", message)
    scheduled = _condition(pod, "PodScheduled", "False")
    if scheduled is not None and scheduled.get("reason") == "Unschedulable":
        message = scheduled.get("message", "")
        return Finding("waits", "no_room" if may_fit_later(message) else "unschedulable", message)
    return FINE


def node_of(pod: Mapping[str, Any]) -> str:
    """Return the name of the pod's node; empty before it has one."""
    return str(pod.get("spec", {}).get("nodeName") or "")


def _condition(pod: Mapping[str, Any], kind: str, status: str = "True") -> Mapping[str, Any] | None:
    for condition in pod["status"].get("conditions", ()):
        if condition["type"] == kind and condition["status"] == status:
            found: Mapping[str, Any] = condition
            return found
    return None


def of_refusal(error: Refused, task: PodTask, patience: Patience) -> Finding:
    """Read why a pod or its Secret was not made. A rule that goes on refusing it does not wait for ever."""
    fate, reason = refused_pods.of_refusal(error)
    if reason == "admission" == task.reason and task.reason_seconds > patience.pending and task.tries > _PATIENT_TRIES:
        fate = "failed"
    return Finding("failed" if fate == "failed" else "waits", reason, error.message)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a pod may wait for its image, and for anything else."""

    image_pull: float = 30.0
    pending: float = 900.0

    def limit(self, reason: str) -> float:
        """Return for how long a pod may wait for this reason."""
        if reason in ("evicted", "no_room"):  # its container is about to end; it runs when others have ended
            return math.inf
        return self.image_pull if reason in ("image_pull", "start_error") else self.pending


def judge(row: PodRow, pod: Mapping[str, Any], patience: Patience, seen: float = math.inf) -> Finding:
    """Say what to do about a placed pod, given what its row remembers.

    ``seen``: for how many seconds this spawner has seen cluster and database without a break. Time in which nobody saw
    the pod is no time that it wasted.
    """
    found = of_pod(pod)
    if found.fate != "waits":
        return _unless_done(row, found)
    if row.worker_state == "dead" and not _works(row) and seen > _SETTLED_SECONDS:
        return _silent(found, node_of(pod))
    if not found.reason:
        return _unregistered(row, patience, seen)
    if found.reason == "node_lost":  # its worker may live on behind a cut: its lease decides, if it ever had one
        return replace(found, fate="lost") if row.worker_state == "starting" else found
    if row.reason == found.reason and min(row.reason_seconds, seen) > patience.limit(found.reason):
        return replace(found, fate="failed")
    return found


def _works(row: PodRow) -> bool:
    return row.holds and row.job_status == "running"


def _silent(found: Finding, node: str) -> Finding:
    """Name the node of a worker whose lease is over although its container is said to run."""
    if found.reason == "node_lost":
        return replace(found, fate="lost")
    where = f"node {node}" if node else "its node"
    return Finding("lost", "node_lost", f"the worker's lease is over, and {where} does not report its end", node=node)


def _unless_done(row: PodRow, found: Finding) -> Finding:
    """Count no loss for a pod whose one job is behind it, nor success for one that never claimed its own."""
    if found.fate == "lost" and row.claimed and not _works(row):
        # a job that was handed back because somebody ended the pod: its log says so all the same
        return Finding("over") if found.reason == "pod_failed" else replace(found, fate="over")
    if found.fate == "over" and row.key is not None and not row.claimed:
        return Finding("lost", "pod_failed", "the container ended without having claimed its job")
    return found


def _unregistered(row: PodRow, patience: Patience, seen: float) -> Finding:
    silent = min(row.age_seconds, seen)
    if row.reason or row.worker_state != "starting" or silent <= patience.pending:  # its time begins with what is over
        return FINE
    return Finding("failed", "pod_silent", f"no worker has registered from it for {silent:.0f} s")


def of_absence(row: PodRow) -> Finding:
    """Say what to do about a placed pod that is gone."""
    if row.reason in ("evicted", "node_lost"):  # told before, with the cluster's message
        return _unless_done(row, Finding("lost", row.reason, "the pod is gone"))
    return _unless_done(row, Finding("lost", "pod_deleted", "the pod was deleted, not by ado"))
