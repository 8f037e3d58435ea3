"""Cancel: from the call at one replica to SIGTERM in the agent of a worker at the other one."""

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from app.rpc.client import HttpClient
from tests.bench.figures import Figure, percentile, spread
from tests.bench.stage import Stage, main
from tests.support.program import Cluster, until

AGENT = """
import os, signal, sys, time
def told(*_):
    with open(sys.argv[1] + ".new", "w") as file:
        file.write(repr(time.time()))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
open(sys.argv[1] + ".ready", "w").close()
time.sleep(300)
"""


async def measure(stage: Stage) -> list[Figure]:
    """The agent notes when the signal came; the floor is the same program, signalled by its parent."""
    return await asyncio.to_thread(_measure, stage)


def _measure(stage: Stage) -> list[Figure]:
    count = stage.pick(40, 3)
    with stage.cluster(2) as cluster:
        cluster.add_worker("w1", url=cluster.urls[0])
        with contextlib.closing(HttpClient([cluster.urls[1]], cluster.token)) as client:
            took = [_cancel(cluster, client, cluster.home / f"cancel-{number}") for number in range(count)]
        floor = [_signal(cluster.home / f"floor-{number}") for number in range(count)]
    p99 = percentile(took, 99) * 1000
    what, detail = "cancel at one replica → the agent of another's worker has SIGTERM, p99", spread(took)
    return [Figure(what, p99, "ms", percentile(floor, 99) * 1000, "≤ 500 ms", p99 <= 500, detail)]


def _cancel(cluster: Cluster, client: HttpClient, stamp: Path) -> float:
    command = shlex.join([sys.executable, "-I", "-S", "-c", AGENT, str(stamp)])
    task_id = client.mutate("tasks.create", {"prompt": f"exec {command}", "agent": "shell"})["taskId"]
    until(stamp.with_suffix(".ready").exists, "the agent")
    began = time.time()
    client.mutate("tasks.cancel", {"taskId": task_id})
    took = _told(stamp) - began
    ended = "select 1 from ado.tasks where status = 'cancelled' and 'task-' || task_id = %s"
    until(lambda: cluster.sql(ended, task_id), "the verdict")
    return took


def _signal(stamp: Path) -> float:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", AGENT, str(stamp)])
    until(stamp.with_suffix(".ready").exists, "the program")
    began = time.time()
    os.kill(process.pid, signal.SIGTERM)
    took = _told(stamp) - began
    process.wait()
    return took


def _told(stamp: Path) -> float:
    until(stamp.exists, "the signal")
    return float(stamp.read_text())


if __name__ == "__main__":
    main(measure)
