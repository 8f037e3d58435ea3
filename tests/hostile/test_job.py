"""A job that means harm: what it can make the server store, what it can leave behind, and what it can read."""

import contextlib
import os
from pathlib import Path

import pytest
from support.program import Cluster, processes_with, until
from support.users import OTHER

WRITES = """python3 - <<'P'
import json, os
fd = int(os.environ["ADO_EVENTS_FD"])
for n in range(COUNT):
    data = json.dumps({"type": KIND, "message": "x" * SIZE}).encode() + b"\\n"
    while data: data = data[os.write(fd, data):]
P
"""
LIMIT = 200_000


@pytest.mark.parametrize(
    ("kind", "count", "size"), [("progress", 12, 900_000), ("agent", 12, 900_000), ("progress", 30_000, 0)]
)
def test_a_job_cannot_fill_the_database_with_events(dsn, home, kind, count, size):
    cluster = Cluster(dsn, home, env={"ADO_OUTPUT_BYTES": str(LIMIT)})
    try:
        cluster.add_replicas(2)
        cluster.add_worker("w1")
        script = WRITES.replace("COUNT", str(count)).replace("KIND", repr(kind)).replace("SIZE", str(size))
        cluster.ado("run", "--remote", "--agent", "shell", script, check=0)
        stored = [event for event in cluster.events("task-1") if event["type"] == kind]
        assert sum(max(len(str(event)), 100) for event in stored) < 5_000_000
        assert len(stored) < count
        assert cluster.task("task-1")["jobs"][0]["droppedBytes"] > 0
    finally:
        cluster.close()


KILLER = """
keeper=$PPID worker=$(sed 's/.*) //' /proc/$PPID/stat | cut -d' ' -f2)
setsid sh -c ': MARKER; kill -STOP $2; kill -KILL $1 $2; sleep 600' - $keeper $worker &
sleep 600
"""


def test_a_job_that_kills_its_keeper_and_its_worker_leaves_nothing(cluster, home):
    """What is left becomes the spawner's child, since the spawner started the worker.

    The job stops the worker first: a worker that sees its keeper die ends the job before this kills the worker, too.
    """
    marker = f"killer-{os.getpid()}-{home.name}"
    plain = {"ADO_SANDBOX": "none"}  # in a sandbox it sees neither
    cluster.start("spawner", "--max", "1", "--url", ",".join(cluster.urls), "--work-dir", str(home / "work"), env=plain)
    cluster.ado("run", "--remote", "--agent", "shell", "--detach", KILLER.replace("MARKER", marker), check=0)
    until(lambda: processes_with(f": {marker}"), "the job to run")
    until(lambda: cluster.task("task-1")["jobs"][0]["attempt"] > 1, "the next attempt", 60)
    cluster.ado("cancel", "task-1", check=0)
    until(lambda: not processes_with(marker), "every process of the job to be gone", 60)


def test_a_job_reads_nothing_of_the_processes_that_run_it(cluster, home):
    """The kernel shows a process that is not dumpable as root's, so no other user opens its environment or memory.

    Processes of the tests' root are marked by a group of their own.
    """
    group = {"group": OTHER, "extra_groups": []} if os.geteuid() == 0 else {}

    def is_hidden(pid):
        found = Path(f"/proc/{pid}/environ").stat()
        return (found.st_uid, found.st_gid) == (0, 0)

    spawner = cluster.start(
        "spawner", "--max", "1", "--url", ",".join(cluster.urls), "--work-dir", str(home / "work"),
        env={"ADO_SANDBOX": "none"}, **group,
    )  # fmt: skip
    cluster.ado("run", "--remote", "--agent", "shell", "--detach", "sleep 600", check=0)
    replica = cluster.start("api", "--port", "0", **group)
    other = cluster.launch(["sleep", "600"], **group)
    (worker,) = until(lambda: children_with("--work-dir", spawner.pid), "the worker")
    (keeper,) = until(lambda: children_with("keeper.py", worker), "the keeper")
    for pid in (spawner.pid, replica.pid, worker, keeper):
        until(lambda pid=pid: is_hidden(pid), f"process {pid} to be hidden")
    assert not is_hidden(other.pid)
    cluster.ado("cancel", "task-1", check=0)


def children_with(text, parent):
    """Return the pids of a process's children whose command line holds a text."""
    return [pid for pid in processes_with(text) if parent_of(pid) == parent]


def parent_of(pid):
    """Return the pid of a process's parent; None if the process, which may be of another test, has just ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None
