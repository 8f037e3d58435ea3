"""What the command line says of tasks that start after others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.rpc.client import HttpClient
from cli import exits
from cli.errors import CliError
from cli.output import shortened


def check_waits(client: HttpClient, task: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Cancel the task and raise CliError if the server's release starts it without waiting."""
    if asked.get("after") and not task.get("after"):
        client.mutate("tasks.cancel", {"taskId": task["taskId"], "reason": "its server knows no --after"})
        message = f"the server is of an older release, which knows no --after; {task['taskId']} was cancelled"
        raise CliError(message, "upgrade it, or wait with ado wait TASK", exits.INFRASTRUCTURE, "after")


def status_of(task: Mapping[str, Any]) -> str:
    """Return a task's status with the tasks that it waits for."""
    waits_for = task.get("waitsFor") or []
    return f"{task['status']} after {shortened(waits_for)}" if waits_for else str(task["status"])


def order_of(task: Mapping[str, Any]) -> list[str]:
    """Return the line that says after which tasks it starts; none for most."""
    how = "ended" if task.get("afterAnyEnd") else "succeeded"
    return [f"starts when all of these have {how}: {', '.join(task['after'])}"] if task.get("after") else []
