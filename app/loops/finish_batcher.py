"""The ends of attempts as workers report them, stored by group commit: the jobs, then tasks that have no other left.

Two statements, because only a new look at a task sees the sibling that ended beside it. A replica that dies between
them leaves the second to the monitor.
"""

from __future__ import annotations

from collections.abc import Sequence

from db import jobs, tasks
from db.database import Database
from db.group_commit import Group
from db.jobs import Finish
from db.model import Job

_REPORTS = 150
_BYTES = 8 * 1024 * 1024


class Endings:
    """Closes attempts; one per replica."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._group: Group[Finish, Job | None] = Group(self._store, items=_REPORTS, size=_BYTES)

    async def close_attempt(self, report: Finish) -> Job | None:
        """Store a report, and settle its task; None when the fence refused it. Raises DatabaseUnavailable."""
        return await self._group.put(report, (report.task_id, report.job), size=report.size)

    async def _store(self, reports: list[Finish]) -> Sequence[Job | None]:
        finished = await jobs.finish_all(self._db, reports)
        ended = [found for found in finished if found is not None and found[0].status != "queued"]
        for task_id in sorted({job.task_id for job, stop_siblings in ended if stop_siblings}):
            await tasks.stop_siblings(self._db, task_id)
        await tasks.settle_all(self._db, sorted({job.task_id for job, _ in ended}))
        return [found and found[0] for found in finished]

    async def close(self) -> None:
        """Give up what is not stored."""
        await self._group.close()
