"""``stream.systemEvents``: every change of every task reaches a viewer of another replica, soon and once."""

import asyncio
import contextlib
import time

from app.rpc.client import Client

SECONDS = 5.0
TASKS = 40


async def test_every_task_of_a_busy_system_is_reported_by_the_other_replica(cluster):
    """Tasks of no work at all, which may end between two looks, on workers that take as many as they can."""
    for number in range(2):
        cluster.add_worker(f"w{number}", "--slots", "8", "--capability", "shell", "--capability", "scripted")
    first, second = cluster.urls
    created, told = {}, {}
    async with Client([first], cluster.token) as watching, Client([second], cluster.token) as writing:

        async def watch():
            async for item in watching.subscribe("stream.systemEvents"):
                shape = item.data
                if shape["type"] == "task":
                    told.setdefault(shape["task"]["taskId"], []).append((time.monotonic(), shape["task"]["status"]))
                elif shape["type"] == "snapshot":
                    ready.set()

        ready = asyncio.Event()
        viewing = asyncio.create_task(watch())
        try:
            await asyncio.wait_for(ready.wait(), 60)
            for _ in range(TASKS):
                task = await writing.mutate("tasks.create", {"prompt": "true", "agent": "shell"})
                created[task["taskId"]] = time.monotonic()
            async with asyncio.timeout(90):
                while not all(told.get(name, [(0, "")])[-1][1] == "succeeded" for name in created):
                    await asyncio.sleep(0.05)
        finally:
            viewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await viewing
    late = {name: told[name][0][0] - at for name, at in created.items()}
    assert max(late.values()) < SECONDS
    for changes in told.values():
        statuses = [status for _, status in changes]
        assert statuses == sorted(set(statuses), key=("queued", "running", "succeeded").index)
