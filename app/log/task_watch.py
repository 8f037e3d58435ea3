"""Finds the changes of tasks that a viewer of the whole system has not seen yet. It does no input or output.

Each reading has the newest open tasks, the newest of all tasks, and those that were open before. So a task that begins
and ends between two readings is reported too, once. An id is assigned before its task is stored, so a task with a
slightly older id may appear later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from db.model import Status

LATE_IDS = 300
"""How far behind the newest id a new task may be: about as many as all replicas store at once."""
_REMEMBERED = 2000
_OPEN = frozenset({"queued", "running", "paused"})


class Seen(NamedTuple):
    """A task in a reading; ``last_seq`` is where its log ended."""

    task_id: int
    status: Status
    last_seq: int

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.status in _OPEN


class TaskWatch:
    """What one viewer knows of the tasks, beginning with a first reading."""

    def __init__(self, first: Sequence[Seen]) -> None:
        self._status: dict[int, Status] = {task.task_id: task.status for task in first}
        self.newest = max(self._status, default=0)

    @property
    def known(self) -> list[int]:
        """The tasks that were open in the last reading."""
        return [task_id for task_id, status in self._status.items() if status in _OPEN]

    def changes(self, reading: Sequence[Seen]) -> list[Seen]:
        """Return the tasks whose status differs from the one last reported, in the order of the reading."""
        changed = [task for task in reading if self._status.get(task.task_id) != task.status]
        self._status.update((task.task_id, task.status) for task in changed)
        self.newest = max(self.newest, *self._status, 0)
        shown = {task.task_id for task in reading}
        remembered = (task_id for task_id in self._status if task_id in shown or task_id > self.newest - LATE_IDS)
        self._status = {task_id: self._status[task_id] for task_id in sorted(remembered)[-_REMEMBERED:]}
        return changed
