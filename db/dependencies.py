"""Tasks that start after others: typed functions over ``sql/queries/dependencies.sql``.

Ending a task and starting what waits for it are two statements: only the second sees what ended at the same time. If
the replica dies between them, the monitor of another one runs the second.
"""

from __future__ import annotations

from collections.abc import Sequence

from db.database import Database
from db.model import Status

_ROUNDS = 5  # more would keep a worker that reports an end from its answer; the monitor goes on


async def start_waiting(db: Database, *, rounds: int = _ROUNDS) -> None:
    """Start the tasks for which everything they wait for has ended, and cancel those for which it ended badly.

    A cancelled task may be waited for in turn, so this repeats until nothing is left, but at most ``rounds`` times.
    """
    for _ in range(rounds):
        started = await db.many("start_dependents")
        if not started:
            return
        if cancelled := [row["task_id"] for row in started if row["is_cancelled"]]:
            await db.many("settle_tasks", task_ids=cancelled)


async def unusable(db: Database, task_ids: Sequence[int]) -> list[tuple[int, Status | None]]:
    """Return those after which no task can start: unknown ones, with None, and ones that have not succeeded."""
    return [(row["task_id"], row["status"]) for row in await db.many("unusable_predecessors", task_ids=task_ids)]


async def of_others(db: Database, task_ids: Sequence[int], account: str) -> list[int]:
    """Return the tasks that somebody else has created."""
    return [row["task_id"] for row in await db.many("owned_by_others", task_ids=task_ids, account=account)]


async def failed(db: Database, task_id: int) -> list[tuple[int, Status | None]]:
    """Return the tasks whose ends cancelled this one, with their status now; None: it is removed."""
    return [(row["task_id"], row["status"]) for row in await db.many("failed_predecessors", task_id=task_id)]
