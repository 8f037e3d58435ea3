"""Wall clocks of workers and replicas jump, by libfaketime: leases and heartbeats go by the database's clock alone."""

from pathlib import Path

import pytest
from support.program import Cluster, until

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


class Clock:
    """The clock of some processes, moved by a file that they read at every look at the time."""

    def __init__(self, file):
        self._file = file
        self.set("+0")

    def set(self, offset):
        """Move it: ``-3h``, ``+2d``."""
        staging = self._file.with_suffix(".new")
        staging.write_text(offset)
        staging.replace(self._file)

    @property
    def env(self):
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",  # a wall clock is set; the time since the machine's start never is
        }


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
def test_a_job_survives_clock_jumps_of_its_worker_and_the_replicas(dsn, home):
    replicas, worker = Clock(home / "replicas"), Clock(home / "worker")
    cluster = Cluster(dsn, home, env=replicas.env)
    try:
        cluster.add_replicas(2)
        cluster.env |= worker.env
        worker.set("-3h")
        cluster.add_worker("w0")
        cluster.env = {name: value for name, value in cluster.env.items() if name != "LD_PRELOAD"}
        gate = home / "gate"
        script = f"echo begin; until [ -e {gate} ]; do sleep 0.05; done; echo end"
        task = cluster.ado("run", "--remote", "--detach", "-o", "name", "--agent", "shell", script, check=0)
        assert task.stdout == b"task-1\n"
        for of_worker, of_replicas in (("+5h", "+2d"), ("-1d", "-2d"), ("+0", "+1h")):
            worker.set(of_worker)
            replicas.set(of_replicas)
            (lease,) = until(lambda: cluster.sql("select lease_expires_at from ado.jobs where status = 'running'"))
            moved = "select 1 from ado.jobs where lease_expires_at > %s::timestamptz + interval '5 seconds'"
            until(lambda moved=moved, lease=lease: cluster.sql(moved, *lease), "more than a lease to pass")
            # a clock that counts would leave it suspect; a heartbeat that is late does so for a moment
            until(lambda: cluster.sql("select state from ado.worker_status") == [("busy",)], "the worker to be heard")
        gate.touch()
        cluster.ado("wait", "task-1", check=0)
        assert cluster.sql("select attempt, losses from ado.jobs") == [(1, 0)]
        assert cluster.ado("logs", "task-1", check=0).stdout == b"begin\nend\n"
    finally:
        cluster.close()
