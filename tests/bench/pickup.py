"""Pickup: from the call of ``tasks.create`` to the moment a waiting worker at another replica holds the job."""

import asyncio
import time

from tests.bench import floor
from tests.bench.figures import Figure, spread
from tests.bench.stage import Stage, main
from tests.bench.wire import LightClient


async def measure(stage: Stage) -> list[Figure]:
    """Create one task at a time for a parked claim; the floor is a notification between two bare sockets."""
    rounds = stage.pick(400, 5)
    took: list[float] = []
    with stage.cluster(2) as cluster:
        creator = await LightClient.open(cluster.urls[0], cluster.token)
        worker = await LightClient.open(cluster.urls[1], cluster.token)
        hello = {"workerId": "w1", "capabilities": ["shell"], "instance": "i", "slots": 1000}
        session = (await worker.call("workers.register", hello))["session"]
        for number in range(rounds):
            if number % 100 == 0:
                await worker.call("workers.heartbeat", {"workerId": "w1", "session": session, "jobs": []})
            claiming = asyncio.ensure_future(
                worker.call("workers.claim", {"workerId": "w1", "session": session, "waitSeconds": 20})
            )
            await asyncio.sleep(0.02)  # it is parked by then
            began = time.perf_counter()
            await creator.call("tasks.create", {"prompt": "true", "agent": "shell"})
            job = (await claiming)["jobs"][0]
            took.append(time.perf_counter() - began)
            fence = {"workerId": "w1", "jobId": job["jobId"], "attempt": job["attempt"]}
            await worker.call("workers.finish", {**fence, "outcome": "succeeded", "exitCode": 0})
        creator.close()
        worker.close()
    with stage.database() as bare:
        least = spread(await floor.hops(bare, rounds))
    found = spread(took)
    what = "create → a waiting worker has the job"
    p50, p99 = found["p50Ms"], found["p99Ms"]
    return [
        Figure(f"{what}, p50", p50, "ms", least["p50Ms"], "≤ 5 ms", p50 <= 5),
        Figure(f"{what}, p99", p99, "ms", least["p99Ms"], "≤ 15 ms", p99 <= 15),
    ]


if __name__ == "__main__":
    main(measure)
