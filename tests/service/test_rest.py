"""A system in which everything waits is at rest: no waiter wakes itself."""

import os
import subprocess
import time
from pathlib import Path

from support.program import until

REMOTE = ("--remote", "--agent", "shell")
_SECONDS = 4.0
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(process):
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def test_replicas_rest_while_jobs_people_and_workers_wait(cluster):
    """A reader of stdin, a held-back sender, a question, a pause, a successor, viewers, and a worker without work.

    A reader that woke itself used most of a core. Two replicas that rest use a twentieth of one each.
    """
    worker = cluster.add_worker("w1", "--slots", "3")
    reading = cluster.open("run", *REMOTE, "cat", stdin=subprocess.PIPE)
    held_back = cluster.open("run", *REMOTE, "sleep 600", stdin=subprocess.PIPE)
    os.set_blocking(held_back.stdin.fileno(), False)
    asking = cluster.open("run", *REMOTE, "ado ask 'Which?'")
    until(lambda: cluster.sql("select from ado.questions"), "the question")

    def is_full():
        try:
            while held_back.stdin.write(b"x" * 65536):
                pass
        except BlockingIOError:
            pass
        return cluster.sql("select from ado.inputs where received >= 1000000")

    until(is_full, "a sender that is held back")
    paused = cluster.create_task()
    cluster.ado("pause", paused, check=0)
    cluster.ado("run", *REMOTE, "--detach", "--after", paused, "true", check=0)
    viewers = [cluster.open("attach", paused, url=url) for url in cluster.urls]
    viewers.append(cluster.open("wait", paused))
    until(lambda: b"paused" in cluster.ado("tasks", check=0).stdout, "the pause")

    def rest():
        """Look at a window of time: what was just begun has its first looks in an earlier one."""
        before = [cpu(process) for process in cluster.replicas]
        time.sleep(_SECONDS)
        used = [cpu(process) - begun for process, begun in zip(cluster.replicas, before, strict=True)]
        return max(used) < 0.25 * _SECONDS

    until(rest, "the replicas to rest", 30)
    assert all(process.poll() is None for process in (worker, reading, held_back, asking, *viewers))
    reading.stdin.close()
    held_back.stdin.close()
