"""Stores the ends of attempts that workers report, by group commit: first the jobs, then the tasks that end with them.

These are two statements, because only a second one sees the jobs of the same task that ended at the same time. If the
replica dies between them, the monitor runs the second one.
"""

from __future__ import annotations

from collections.abc import Sequence

from db import jobs, tasks
from db.database import Database
from db.group_commit import GroupCommit
from db.jobs import Finish
from db.model import JobRow

_REPORTS = 150
_BYTES = 8 * 1024 * 1024


class FinishBatcher:
    """Closes attempts; one per replica."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._group: GroupCommit[Finish, JobRow | None] = GroupCommit(self._store, max_items=_REPORTS, max_size=_BYTES)

    async def close_attempt(self, report: Finish) -> JobRow | None:
        """Store a report and settle its task; None when the fence refused it. Raises DatabaseUnavailable."""
        return await self._group.submit(report, (report.task_id, report.job), size=report.size)

    async def _store(self, reports: list[Finish]) -> Sequence[JobRow | None]:
        finished = await jobs.finish_all(self._db, reports)
        ended = [closed for closed in finished if closed is not None and closed[0].status != "queued"]
        for task_id in sorted({job.task_id for job, stop_siblings in ended if stop_siblings}):
            await tasks.stop_siblings(self._db, task_id)
        await tasks.settle_all(self._db, sorted({job.task_id for job, _ in ended}))
        return [closed and closed[0] for closed in finished]

    async def close(self) -> None:
        """Drop the reports that are not stored."""
        await self._group.close()
