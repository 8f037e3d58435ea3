"""The exit codes of ``ado``, as pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUCCESS, FAILED, USAGE, LARGE, TIMED_OUT, INFRASTRUCTURE, NOT_ALLOWED, UNKNOWN, DETACHED = (
    0,
    1,
    2,
    123,
    124,
    125,
    126,
    127,
    130,
)

TABLE = """\
  0      success
  1-123  the remote command's own exit code; 1 also: failed without one, or cancelled
  2      also: the command line makes no sense
  123    the remote code was 124 or more, or a signal ended it (the true value is exitCode in -o json)
  124    timed out
  125    infrastructure: the job was lost, its pod could not run, or no server answers
  126    not allowed
  127    unknown task or agent
  130    detached by Ctrl-C; the task goes on

With several jobs it is the code of the job that failed first.
"""

_OF_CALL = {
    "UNAUTHORIZED": NOT_ALLOWED,
    "FORBIDDEN": NOT_ALLOWED,
    "NOT_FOUND": UNKNOWN,
    "BAD_REQUEST": USAGE,
    "PARSE_ERROR": USAGE,
    "PAYLOAD_TOO_LARGE": USAGE,
    "SERVICE_UNAVAILABLE": INFRASTRUCTURE,
    "INTERNAL_SERVER_ERROR": INFRASTRUCTURE,
}


INFRASTRUCTURE_REASONS = frozenset(
    {
        "lost",
        "not_started",
        "image_pull",
        "invalid_image",
        "evicted",
        "unschedulable",
        "no_room",
        "quota",
        "quota_too_small",
        "limit_range",
        "admission",
        "cluster_away",
        "pod_security",
        "pod_invalid",
        "cluster_refused",
        "start_error",
        "pod_failed",
        "pod_silent",
        "pod_deleted",
        "node_lost",
    }
)


def of_call(code: str) -> int:
    """Return the exit code for a call that the server refused with a tRPC code."""
    return _OF_CALL.get(code, FAILED)


def of_job(reason: str | None, exit_code: int | None) -> int:
    """Return the exit code for a job that did not succeed."""
    if reason in ("timed_out", "deadline"):
        return TIMED_OUT
    if reason in INFRASTRUCTURE_REASONS:
        return INFRASTRUCTURE
    if reason == "permission_denied":
        return NOT_ALLOWED
    if not exit_code:
        return FAILED
    return exit_code if 1 <= exit_code <= LARGE else LARGE


def of_task(task: Mapping[str, Any]) -> int:
    """Return the exit code for a task that has ended: its first failing job's."""
    if task["status"] == "succeeded":
        return SUCCESS
    if task["status"] != "failed":
        return FAILED
    failed = first_failed(task)
    return of_job(failed.get("reason"), failed.get("exitCode")) if failed else FAILED


def first_failed(task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the job that failed first: once the task has ended the server says which."""
    failed = [job for job in task["jobs"] if job["status"] == "failed"]
    chosen = task.get("failedJob")
    return min(failed, key=lambda job: (job["job"] != chosen, job.get("finishedAt", ""), job["job"]), default=None)
