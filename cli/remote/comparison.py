"""The jobs of a task side by side: what each agent made of the same prompt; without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from cli.remote.summary import elapsed

_HEAD = ["job", "agent", "state", "checks", "files", "lines", "cost", "time", ""]
_FIGURES = ("files", "added", "removed")


def candidates(
    task: Mapping[str, Any], files: Iterable[Mapping[str, Any]], now: datetime | None = None
) -> list[dict[str, Any]]:
    """Return what is known of each job of a task, by the task and the descriptions of its files."""
    described = {file["job"]: file.get("about") for file in files if file["kind"] == "result"}
    return [_candidate(task, job, described.get(job["job"]), now or datetime.now(UTC)) for job in task["jobs"]]


def _candidate(task: Mapping[str, Any], job: Mapping[str, Any], about: Any, now: datetime) -> dict[str, Any]:
    usage = job.get("usage") or {}
    members = {
        "jobId": job["jobId"],
        "job": job["job"],
        "agent": job.get("agent") or task["agent"],
        "status": job["status"],
        "reason": job.get("reason"),
        "checks": _checks(task, job),
        **_changes(about),
        "costUsd": usage.get("costUsd"),
        "tokens": (usage.get("inputTokens") or 0) + (usage.get("outputTokens") or 0) or None,
        "seconds": elapsed(job, now),
        "picked": task.get("pickedJob") == job["job"],
    }
    return {name: value for name, value in members.items() if value is not None}


def _checks(task: Mapping[str, Any], job: Mapping[str, Any]) -> str | None:
    """Return how the checks of a task ended for a job; None if there are none, or as long as that is not known."""
    if not (task.get("checks") or {}).get("commands"):
        return None
    return "passed" if job["status"] == "succeeded" else "failed" if job.get("reason") == "check_failed" else None


def _changes(about: Any) -> dict[str, int]:
    """Return the figures of a result's description. A worker of somebody's own may write anything there."""
    if not isinstance(about, Mapping):
        return {}
    return {name: about[name] for name in _FIGURES if type(about.get(name)) is int and about[name] >= 0}


def rows(rated: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Return a table of candidates, with its head."""
    return [_HEAD, *map(_row, rated)]


def _row(candidate: Mapping[str, Any]) -> list[str]:
    changed = "added" in candidate and "removed" in candidate
    return [
        str(candidate["job"]),
        candidate["agent"],
        f"{candidate['status']} ({candidate['reason']})" if "reason" in candidate else candidate["status"],
        candidate.get("checks", "-"),
        str(candidate.get("files", "-")),
        f"+{candidate['added']} −{candidate['removed']}" if changed else "-",  # noqa: RUF001
        _cost(candidate),
        f"{candidate['seconds']:.1f}s" if "seconds" in candidate else "-",
        "picked" if candidate["picked"] else "",
    ]


def _cost(candidate: Mapping[str, Any]) -> str:
    """Return dollars, or tokens of an agent that reports no dollars."""
    if "costUsd" in candidate:
        return f"${candidate['costUsd']:.4f}"
    return f"{candidate['tokens']:,} tokens" if "tokens" in candidate else "-"
