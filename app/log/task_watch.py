"""Which changes of tasks a viewer of the whole system has not been told yet; pure.

A look shows the newest open tasks, the newest of all, and those that were open before. So a task that begins and ends
between two looks is told too, once. Ids are given before tasks are stored: one that is a little older may come later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from db.model import Status

LATE_IDS = 300
"""How much older than the newest task one may be that was stored after it: what all replicas store at once."""
_REMEMBERED = 2000
_OPEN = frozenset({"queued", "running"})


class Seen(NamedTuple):
    """A task at a look; ``last_seq`` is where its log ended."""

    task_id: int
    status: Status
    last_seq: int

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.status in _OPEN


class TaskWatch:
    """What one viewer knows of the tasks, beginning with a first look."""

    def __init__(self, first: Sequence[Seen]) -> None:
        self._status: dict[int, Status] = {task.task_id: task.status for task in first}
        self.newest = max(self._status, default=0)

    @property
    def known(self) -> list[int]:
        """The tasks that were open at the last look."""
        return [task_id for task_id, status in self._status.items() if status in _OPEN]

    def changes(self, look: Sequence[Seen]) -> list[Seen]:
        """Take in a look; return the tasks whose status is another one than was told, in the order of the look."""
        changed = [task for task in look if self._status.get(task.task_id) != task.status]
        self._status.update((task.task_id, task.status) for task in changed)
        self.newest = max(self.newest, *self._status, 0)
        shown = {task.task_id for task in look}
        kept = (task_id for task_id in self._status if task_id in shown or task_id > self.newest - LATE_IDS)
        self._status = {task_id: self._status[task_id] for task_id in sorted(kept)[-_REMEMBERED:]}
        return changed
