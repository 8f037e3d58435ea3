"""How long a killed worker costs, with the product's own settings; it waits for a real lease, so it is a long test."""

import sys
import time

import pytest
from support.program import Cluster, until

DEFAULTS = {"ADO_HEARTBEAT_SECONDS": "5", "ADO_SUSPECT_SECONDS": "15", "ADO_LEASE_SECONDS": "30"}
FAST = {"ADO_HEARTBEAT_SECONDS": "0.3", "ADO_SUSPECT_SECONDS": "1", "ADO_LEASE_SECONDS": "2"}


@pytest.mark.long
@pytest.mark.parametrize(("settings", "limit"), [(FAST, 3), (DEFAULTS, 35)], ids=["fast", "default"])
def test_the_job_of_a_killed_worker_is_requeued_in_time(dsn, home, settings, limit):
    cluster = Cluster(dsn, home, env=settings)
    try:
        cluster.add_replicas(2)
        workers = {name: cluster.add_worker(name) for name in ("w0", "w1")}
        cluster.ado("run", "--remote", "--detach", "--agent", "shell", "sleep 300", check=0)
        ask = "select worker_id from ado.jobs where status = 'running' and attempt = %s"
        ((holder,),) = until(lambda: cluster.sql(ask, 1), "the first attempt")
        workers[holder].kill()
        began = time.monotonic()
        until(lambda: cluster.sql(ask, 2), "the second attempt", 2 * limit)
        took = time.monotonic() - began
        sys.stdout.write(f"recovered in {took:.1f} s\n")
        assert took <= limit
        cluster.ado("cancel", "task-1", check=0)
    finally:
        cluster.close()
