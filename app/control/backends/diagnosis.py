"""What a pod's status, or the answer to its creation, means for its job; pure.

A container's end is believed as soon as it is seen: the pod's own phase follows up to a second later. A deadline is
the exception that proves nothing: kubelet names it only in the phase, and no container has ended before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.control.backends.kubernetes import Refused
from app.reasons import POD_REASONS
from db.pods import PodRow, Told

Fate = Literal["waits", "over", "lost", "failed"]
"""waits: it may yet run; over: it ended as it should; lost: it died, not by its job; failed: by its job or for good."""

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, slots=True)
class Finding:
    """A pod's fate; ``reason`` is empty when nothing is wrong."""

    fate: Fate
    reason: str = ""
    message: str = ""
    exit_code: int | None = None

    @property
    def told(self) -> Told:
        """What the job's log says of it."""
        return Told(self.reason, self.message, POD_REASONS[self.reason][1])


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
        return Finding("waits", reason, disruption.get("message", ""))
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
        return Finding("waits", "unschedulable", scheduled.get("message", ""))
    return FINE


def _condition(pod: Mapping[str, Any], kind: str, status: str = "True") -> Mapping[str, Any] | None:
    for condition in pod["status"].get("conditions", ()):
        if condition["type"] == kind and condition["status"] == status:
            found: Mapping[str, Any] = condition
            return found
    return None


def of_refusal(error: Refused) -> Finding:
    """Read why a pod or its Secret was not made."""
    if error.status == 403 and "exceeded quota" in error.message:
        return Finding("waits", "quota", error.message)
    if error.status == 403 and "violates PodSecurity" in error.message:
        return Finding("failed", "pod_security", error.message)
    if error.status in (400, 422):
        return Finding("failed", "pod_invalid", error.message)
    if error.status in (401, 403, 404):
        return Finding("waits", "cluster_refused", error.message)
    return FINE


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a pod may wait for its image, and for anything else."""

    image_pull: float = 30.0
    pending: float = 900.0


def judge(row: PodRow, pod: Mapping[str, Any], patience: Patience) -> Finding:
    """Say what to do about a placed pod, given what its row remembers."""
    found = of_pod(pod)
    if found.fate != "waits":
        return _unless_done(row, found)
    if not found.reason:
        return _unregistered(row, patience)
    if found.reason == "node_lost":  # its worker may live on behind a cut: its lease decides, if it ever had one
        return Finding("lost", found.reason, found.message) if row.worker_state == "starting" else found
    if found.reason == "evicted":  # its container is about to end
        return found
    limit = patience.image_pull if found.reason in ("image_pull", "start_error") else patience.pending
    if row.reason == found.reason and row.reason_seconds > limit:
        return Finding("failed", found.reason, found.message)
    return found


def _unless_done(row: PodRow, found: Finding) -> Finding:
    """Count no loss for a pod whose one job is behind it, nor success for one that never claimed its own."""
    if found.fate == "lost" and row.claimed and not (row.holds and row.job_status == "running"):
        # a job that was handed back because somebody ended the pod: its log says so all the same
        return Finding("over") if found.reason == "pod_failed" else replace(found, fate="over")
    if found.fate == "over" and row.key is not None and not row.claimed:
        return Finding("lost", "pod_failed", "the container ended without having claimed its job")
    return found


def _unregistered(row: PodRow, patience: Patience) -> Finding:
    if row.worker_state != "starting" or row.age_seconds <= patience.pending:
        return FINE
    return Finding("failed", "pod_silent", f"no worker has registered from it for {row.age_seconds:.0f} s")


def of_absence(row: PodRow) -> Finding:
    """Say what to do about a placed pod that is gone."""
    if row.reason in ("evicted", "node_lost"):  # told before, with the cluster's message
        return _unless_done(row, Finding("lost", row.reason, "the pod is gone"))
    return _unless_done(row, Finding("lost", "pod_deleted", "the pod was deleted, not by ado"))
