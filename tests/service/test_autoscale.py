"""Two real spawners follow two bursts of jobs within a range, although one of them is killed in the first."""

import threading
from itertools import pairwise

import psycopg
import pytest
from support.program import Cluster, until

SLOW_LEASE = {"ADO_HEARTBEAT_SECONDS": "5", "ADO_SUSPECT_SECONDS": "60", "ADO_LEASE_SECONDS": "120"}
NUMBERS = "select workers, workers - leaving, busy from ado.autoscale_status"


@pytest.fixture
def cluster(dsn, home):
    """A worker that starts slowly counts as late nowhere here, so what is lost was killed."""
    made = Cluster(dsn, home, env=SLOW_LEASE)
    try:
        yield made.add_replicas(2)
    finally:
        made.close()


class Watch(threading.Thread):
    """Notes each number of workers, those included that end."""

    def __init__(self, dsn):
        super().__init__()
        self.dsn, self.stopping, self.seen = dsn, threading.Event(), [(0, 0)]

    def run(self):
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self.stopping.wait(0.02):
                found = connection.execute(NUMBERS).fetchone()
                if found[:2] != self.seen[-1]:
                    self.seen.append(found[:2])


def turns(sizes):
    """Return how often a series of numbers changes its direction."""
    ways = [after > before for before, after in pairwise(sizes) if after != before]
    return sum(before != after for before, after in pairwise(ways))


def add_spawner(cluster):
    urls, work_dir = ",".join(cluster.urls), str(cluster.home / "work")
    env = {"ADO_WORKER_CAPABILITIES": "shell", "ADO_START_SECONDS": "20"}
    return cluster.start("spawner", "--max", "9", "--url", urls, "--work-dir", work_dir, env=env)


def numbers(cluster):
    (found,) = cluster.sql(NUMBERS)
    return found


def test_a_load_of_two_bursts_is_followed_within_the_range_without_flapping(cluster):
    refused = cluster.ado("workers", "autoscale", "shell", "--min", "2", "--max", "1", check=2).stderr.decode()
    assert "the minimum of 2 is above the maximum of 1" in refused
    limits = ("--min", "1", "--max", "3", "--target-queue", "1", "--cooldown", "1.5")
    said = cluster.ado("workers", "autoscale", "shell", *limits, check=0).stderr.decode()
    assert "no worker and no spawner offers shell now" in said
    watch = Watch(cluster.dsn)
    watch.start()
    try:
        first, _ = add_spawner(cluster), add_spawner(cluster)
        until(lambda: numbers(cluster) == (1, 1, 0), "the minimum")
        for burst in range(2):
            cluster.ado("run", "--remote", "--detach", "--agent", "shell", "--workers", "9", "sleep 0.4", check=0)
            until(lambda: numbers(cluster)[0] == 3, "the maximum", 60)
            if burst == 0:
                first.kill()
                first.wait(60)
            until(lambda: numbers(cluster) == (1, 1, 0), "the surplus to end", 60)
        assert "autoscale shell: 1 now, 1 to 3 allowed" in cluster.ado("workers", "status", check=0).stdout.decode()
        cluster.ado("workers", "autoscale", "shell", "--min", "0", "--max", "0", check=0)
        until(lambda: numbers(cluster) == (0, 0, 0), "all to end", 60)
    finally:
        watch.stopping.set()
        watch.join()
    assert max(workers for workers, _ in watch.seen) == 3
    assert turns([staying for _, staying in watch.seen]) == 3
    assert cluster.sql("select status, max(attempt), count(*) from ado.jobs group by status") == [("succeeded", 1, 18)]
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", "true", check=0)
    assert "autoscaling allows 0" in cluster.ado("explain", "task-3", check=0).stdout.decode()
    cluster.ado("workers", "autoscale", "shell", "--remove", check=0)
    cluster.ado("wait", "task-3", check=0)
    listed = cluster.ado("workers", "autoscale", check=0)
    assert (listed.stdout, listed.stderr.decode().split(";")[0]) == (b"", "ado: there are no ranges")
