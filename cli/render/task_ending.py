"""Why a task did not succeed, as one sentence: the cause, the limit or rule, and the next step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.exits import first_failed
from cli.render.escape_sequences import plain

_STEPS = {
    "timed_out": "give it longer with --timeout",
    "deadline": "give it longer with --timeout",
    "not_started": "start a worker that offers it, or give it longer with --start-within",
    "lost": "run it again: ado retry {task}",
    "too_many_attempts": "see what ended them: ado attach {task}; then run it again: ado retry {task}",
    "start_failed": "see what the worker lacks: ado doctor --agents",
    "permission_denied": "allow what it asked for, or choose another --agent",
    "auth": "renew the credentials of the agent on its worker: ado doctor --agents",
    "rate_limited": "run it again later: ado retry {task}",
    "no_result": "see what it said: ado logs {task}",
    "oom_killed": "ask for more with --memory",
    "workspace": "see its log: ado logs {task}",
    "worker_error": "see the worker's log, then run it again: ado retry {task}",
}
_CAUSES = {
    "lost": "its worker was lost",
    "not_started": "it was not started in time",
    "sibling_failed": "another job failed and --fail-fast stops the others",
    "permission_denied": "the agent was not allowed to do what the prompt asked for",
    "no_result": "the agent ended without a result",
    "auth": "the model's service refused the credentials",
    "rate_limited": "the model's service refused because of its limits",
}


def sentence(task: Mapping[str, Any]) -> str:
    """Return why an ended task did not succeed; empty for any other task."""
    name = task["taskId"]
    if task["status"] == "cancelled":
        why = task.get("message")
        step = "; run that again, then: ado retry " + name if task.get("reason") == "predecessor_failed" else ""
        return f"{name} was cancelled{f': {_one_line(why)}' if why else ''}{step}"
    if task["status"] == "failed":
        return f"{name} failed: {explanation(task, first_failed(task) or {})}"
    return ""


def explanation(task: Mapping[str, Any], job: Mapping[str, Any]) -> str:
    """Return why a job of a task failed, and what to do."""
    reason = str(job.get("reason") or task.get("reason") or "failed")
    step = _STEPS.get(reason, "").format(task=task["taskId"])
    return f"{_cause(task, job, reason)}{f'; {step}' if step else ''}"


def _cause(task: Mapping[str, Any], job: Mapping[str, Any], reason: str) -> str:
    """Return the cause: the server's message if there is one, else the meaning of the reason."""
    message = _one_line(job.get("message") or task.get("message") or "")
    if reason == "timed_out" and not message:
        return (
            f"timed out after {task['timeoutSeconds']:g} s (--timeout)" if task.get("timeoutSeconds") else "timed out"
        )
    if reason == "exit_nonzero":
        return message or (
            f"exited with {job['exitCode']}" if job.get("exitCode") is not None else "exited with an error"
        )
    what = _CAUSES.get(reason, reason.replace("_", " "))
    return f"{what}: {message}" if message and message != what else message or what


def _one_line(text: Any) -> str:
    """Return a message, which may be a program's coloured output, as one plain line."""
    lines = [line.strip() for line in plain(str(text)).splitlines() if line.strip()]
    return " / ".join(lines)
