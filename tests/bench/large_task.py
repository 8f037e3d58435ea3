"""One task with a thousand jobs, beside a history: each of its steps within two seconds."""

import asyncio
from typing import Any

from db import jobs, tasks
from tests.bench.figures import Figure
from tests.bench.flat_calls import Laps, Side
from tests.support.records import claim, finish, register

JOBS = 1000
_WORKERS = 20
_TARGET_SECONDS = 2.0


async def measured(side: Side) -> list[Figure]:
    """Measure each step once."""
    laps = Laps()
    await _queued(side, laps)
    for number in range(_WORKERS):
        await register(side.db, _name(number), capabilities=("large",), slots=JOBS)
    await _failing(side, laps)
    await _losing(side, laps)
    return [
        Figure(f"1,000 jobs: {name}", seconds * 1000, "ms", None, "≤ 2 s", seconds <= _TARGET_SECONDS)
        for name, seconds in laps.seconds.items()
    ]


def _name(number: int) -> str:
    return f"large-{number}"


async def _create(side: Side, **values: Any) -> str:
    wish = {"prompt": "x", "agent": "large", "workers": JOBS, "priority": 9, **values}
    name: str = (await side.client.call("tasks.create", wish))["taskId"]
    return name


async def _queued(side: Side, laps: Laps) -> None:
    """What people do while nothing runs."""
    call = side.client.call
    with laps.lap("tasks.create"):
        task = await _create(side)
    with laps.lap("tasks.get"):
        assert len((await call("tasks.get", {"taskId": task}, "query"))["jobs"]) == JOBS
    with laps.lap("tasks.list"):
        await call("tasks.list", {"limit": 1}, "query")
    with laps.lap("ado tasks show, the summary"):
        await asyncio.to_thread(side.cluster.ado, "tasks", "show", task, check=0)
    for path in ("tasks.pause", "tasks.resume", "tasks.cancel", "tasks.retry"):
        with laps.lap(path):
            await call(path, {"taskId": task})
    await call("tasks.cancel", {"taskId": task})
    with laps.lap("tasks.remove"):
        await call("tasks.remove", {"taskId": task})


async def _running(side: Side, laps: Laps, **values: Any) -> str:
    """Create a task whose jobs all run."""
    task = await _create(side, **values)
    with laps.lap("claims of twenty workers"):
        for number in range(_WORKERS):
            assert len(await claim(side.db, _name(number), limit=JOBS // _WORKERS)) == JOBS // _WORKERS
    return task


async def _failing(side: Side, laps: Laps) -> None:
    """One job fails, and its siblings are stopped."""
    task = await _running(side, laps, onFailure="fail_fast")
    number = int(task.removeprefix("task-"))
    rows = await side.plain.fetch("select job, worker_id from ado.jobs where task_id = $1 order by job", number)
    with laps.lap("fail-fast, its siblings are told to stop"):
        first = {"workerId": rows[0]["worker_id"], "jobId": f"{task}/0", "attempt": 1}
        await side.client.call("workers.finish", {**first, "outcome": "failed"})
    assert await _count(side, number, "stop_reason is not null") == JOBS - 1
    reports = [finish(number, "cancelled", job=row["job"], worker_id=row["worker_id"]) for row in rows[1:]]
    with laps.lap("the reports of 999 jobs, and the task's end"):
        await jobs.finish_all(side.db, reports)
        await tasks.settle(side.db, number)
    row = await tasks.get(side.db, number)  # a monitor's step may have settled it first
    assert row is not None
    assert row.status == "failed"


async def _losing(side: Side, laps: Laps) -> None:
    """All workers are lost: their leases run out at one moment, and a monitor's step queues the jobs again."""
    task = await _running(side, laps)
    number = int(task.removeprefix("task-"))
    with laps.lap("loss of all workers, until all jobs are queued"):
        await side.plain.execute(
            "update ado.jobs set lease_expires_at = now() - interval '1 s' where task_id = $1", number
        )
        while await _count(side, number, "status = 'queued'") < JOBS:
            await asyncio.sleep(0.01)
    with laps.lap("tasks.cancel after a loss"):
        await side.client.call("tasks.cancel", {"taskId": task})


async def _count(side: Side, task_id: int, condition: str) -> int:
    count: int = await side.plain.fetchval(f"select count(*) from ado.jobs where task_id = $1 and {condition}", task_id)
    return count
