"""The states of tasks that start after others, and the ends of those before them."""

import json

from db import events, tasks
from support.records import claim, closed, finish, new_task


async def states(db, task_id):
    task = await tasks.get(db, task_id)
    return task.status, {(job.status, job.reason) for job in task.jobs}


WAITS = ("queued", {("paused", "waits_for_task")})
QUEUED = ("queued", {("queued", None)})
CANCELLED = ("cancelled", {("cancelled", "predecessor_failed")})


async def run(db, task_id):
    """Have the worker claim the task."""
    assert task_id in {job.task_id for job in await claim(db)}


async def end(db, task_id, outcome="succeeded", *, attempt=1):
    """End a task that runs, as its worker and its replica do."""
    assert await closed(db, finish(task_id, outcome, attempt=attempt)) is not None
    await tasks.settle(db, task_id)


async def create_many(db, count, **values):
    await events.extend(db, count)
    return [task.task_id for task in await tasks.create_all(db, [new_task(**values) for _ in range(count)])]


async def is_told(db):
    """Whether no task that has ended is waited for any more."""
    rows = await db._pool.fetch("select 1 from ado.tasks where is_awaited and finished_at is not null")
    return not rows


async def log(db, task_id):
    page = await events.page(db, task_id, 0, row_limit=1000, byte_limit=1 << 30)
    return [(event.seq, event.type, json.loads(event.body or "{}")) for event in page.events]
