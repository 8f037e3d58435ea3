"""Why a task waits, from what the server shows of workers; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LIVE = frozenset({"starting", "idle", "busy", "suspect", "draining"})


def why_waiting(task: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Return the reason in words; empty when a job of the task runs or nothing waits."""
    if not any(job["status"] == "queued" for job in task["jobs"]) or task["status"] != "queued":
        return ""
    needs = {task["agent"], *task["requires"]}
    live = [worker for worker in status["workers"] if worker["state"] in _LIVE]
    if not live:
        return "no worker is running; start one with: ado worker, or a spawner"
    able = [worker for worker in live if needs <= set(worker["capabilities"])]
    if not able:
        missing = needs - {name for worker in live for name in worker["capabilities"]}
        wanted = ", ".join(sorted(missing or needs))
        return f"no live worker offers {wanted}; {len(live)} offer something else"
    states = sorted({worker["state"] for worker in able})
    if set(states) <= {"busy"}:
        return f"all {len(able)} workers that could run it are busy; {status['queue']['queued']} jobs are queued"
    return f"the workers that could run it are {', '.join(states)}"
