"""The exit codes of ``ado``, as pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUCCESS, FAILED, USAGE, TIMED_OUT, INFRASTRUCTURE, NOT_ALLOWED, UNKNOWN, DETACHED, PIPE_CLOSED = (
    0,
    1,
    2,
    124,
    125,
    126,
    127,
    130,
    141,
)
_LARGEST = 255

TABLE = """\
  0      success
  1-255  the remote command's own exit code; 128+N when signal N ended it
  1      also: failed without a code of its own, or cancelled
  2      also: the command line makes no sense
  124    also: timed out
  125    also: infrastructure: the job was lost, its pod could not run, no
         server answers, or the output could not be written here
  126    also: not allowed
  127    also: unknown task or agent
  130    also: detached by Ctrl-C; the task goes on
  141    also: the reader of the output has gone (ado logs task-1 | head)

A remote command may end with any of these codes itself. What happened is said
in one sentence on stderr, and -o json has exitCode and reason.
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
    return exit_code if 1 <= exit_code <= _LARGEST else _LARGEST


def of_task(task: Mapping[str, Any]) -> int:
    """Return the exit code for a task that has ended: its first failing job's."""
    if task["status"] == "succeeded":
        return SUCCESS
    if task["status"] != "failed":
        return FAILED
    failed = first_failed(task)
    return of_job(failed.get("reason"), failed.get("exitCode")) if failed else FAILED


def first_failed(task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the job that failed first; the server names it once the task has ended."""
    failed = [job for job in task["jobs"] if job["status"] == "failed"]
    chosen = task.get("failedJob")
    return min(failed, key=lambda job: (job["job"] != chosen, job.get("finishedAt") or "", job["job"]), default=None)
