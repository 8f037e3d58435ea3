"""The summary of a task with several jobs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import IO, Any

from cli.agents import agents_of
from cli.exits import first_failed
from cli.output import table
from cli.render.task_ending import explanation, sentence


def elapsed(job: Mapping[str, Any], now: datetime | None = None) -> float | None:
    """Return the seconds of a job's last attempt, of one that runs until ``now``; None if they are not known."""
    end = datetime.fromisoformat(job["finishedAt"]) if job.get("finishedAt") else now
    if not job.get("startedAt") or end is None:
        return None
    return (end - datetime.fromisoformat(job["startedAt"])).total_seconds()


def seconds(job: Mapping[str, Any]) -> str:
    """Return the duration of a job's last attempt as a cell."""
    took = elapsed(job)
    return "-" if took is None else f"{took:.1f}s"


def _state(job: Mapping[str, Any]) -> str:
    if job["status"] == "running" and job.get("pauseRequestedAt"):
        return "pausing"
    is_waiting = job.get("reason") == "waits_for_task" and not job.get("pauseRequestedAt")
    return "waiting" if is_waiting else str(job["status"])


def summary(task: Mapping[str, Any], stream: IO[str] | None = None) -> list[str]:
    """Return the lines of the table, and which job failed first."""
    several = len(agents_of(task)) > 1
    rows = [["job", *(["agent"] if several else []), "worker", "state", "time", "exit", "reason"]]
    rows += [
        [
            str(job["job"]),
            *([job.get("agent") or "-"] if several else []),
            job.get("workerId") or "-",
            _state(job),
            seconds(job),
            "-" if job.get("exitCode") is None else str(job["exitCode"]),
            job.get("reason") or "-",
        ]
        for job in task["jobs"]
    ]
    lines = table(rows, stream)
    if failed := first_failed(task):
        count = sum(job["status"] == "failed" for job in task["jobs"])
        many = f"{count} of {len(task['jobs'])} jobs failed; " if count > 1 else ""
        lines.append(f"{many}first failed: job {failed['job']} ({failed.get('reason')}): {explanation(task, failed)}")
    elif reason := sentence(task):
        lines.append(f"ado: {reason}")
    return lines


def paused(task: Mapping[str, Any]) -> str:
    """Return what a paused task waits for."""
    if any(job.get("reason") == "question" and not job.get("pauseRequestedAt") for job in task["jobs"]):
        return "it is paused until a question is answered: ado inbox"
    return f"it is paused; go on with: ado resume {task['taskId']}"


def used(task: Mapping[str, Any]) -> list[str]:
    """Return a line for each job that reported its usage."""
    return [f"job {job['job']} used {_amounts(job['usage'])}" for job in task["jobs"] if job.get("usage")]


def _amounts(usage: Mapping[str, Any]) -> str:
    words = [
        f"{usage[name]:,} {what}"
        for name, what in (
            ("inputTokens", "tokens in"),
            ("outputTokens", "tokens out"),
            ("cacheReadTokens", "tokens from the cache"),
        )
        if usage.get(name)
    ]
    cost = usage.get("costUsd")
    return ", ".join([*words, *([f"${cost:.4f}"] if cost is not None else [])]) or "nothing"
