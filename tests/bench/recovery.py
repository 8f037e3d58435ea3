"""Recovery: from the kill of a worker (SIGKILL) to the next attempt of its job on another one."""

import asyncio
import time

from tests.bench.figures import Figure
from tests.bench.stage import DEFAULTS, Stage, main
from tests.support.program import until

FAST = {"ADO_HEARTBEAT_SECONDS": "0.5", "ADO_SUSPECT_SECONDS": "1", "ADO_LEASE_SECONDS": "2"}


async def measure(stage: Stage) -> list[Figure]:
    """With fast settings, and with the product's own; the floor is the lease, which must run out first."""
    figures = [await asyncio.to_thread(_recover, stage, "fast settings", FAST, 3.0)]
    if not stage.small:
        figures.append(await asyncio.to_thread(_recover, stage, "default settings", DEFAULTS, 35.0))
    return figures


def _recover(stage: Stage, name: str, settings: dict[str, str], limit: float) -> Figure:
    with stage.cluster(2, **settings) as cluster:
        workers = {name: cluster.add_worker(name) for name in ("w1", "w2")}
        task = cluster.ado("run", "--remote", "--detach", "--agent", "shell", "sleep 300", "-o", "name", check=0)
        task_id = task.stdout.decode().strip()

        def attempt(number: int) -> str | None:
            rows = cluster.sql("select worker_id from ado.jobs where status = 'running' and attempt = %s", number)
            return rows[0][0] if rows else None

        first = until(lambda: attempt(1), "the first attempt")
        workers[first].kill()
        began = time.monotonic()
        until(lambda: attempt(2), "the second attempt", seconds=120)
        took = time.monotonic() - began
        cluster.ado("cancel", task_id, check=0)
    lease = float(settings["ADO_LEASE_SECONDS"])
    return Figure(f"killed worker → its job runs again, {name}", took, "s", lease, f"≤ {limit:.0f} s", took <= limit)


if __name__ == "__main__":
    main(measure)
