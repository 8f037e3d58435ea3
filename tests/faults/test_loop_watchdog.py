"""No job, however large or hostile, blocks the event loop of a worker or a replica: a watchdog looks on.

A loop that the machine leaves without a processor for a while is not blocked; so what counts is the time for which its
thread worked without a pause. On a slow or shared processor the same work takes longer, and so does a sum.
"""

import json
import subprocess
import time
from pathlib import Path

import pytest
from support.program import Cluster

LIMIT_SECONDS = 0.05
ADDITIONS = 1_000_000  # they take about that long
WATCHED = {"ADO_LOOP_WATCHDOG_SECONDS": str(LIMIT_SECONDS)}
MANY_FILES = "mkdir n; i=0; while [ $i -lt 8000 ]; do echo $i > n/$i; i=$((i+1)); done"
HOSTILE = {
    "long lines": "head -c 30000000 /dev/zero | tr '\\0' a; head -c 8000000 /dev/zero; echo",
    "tokens": "yes ghp_ | head -c 8000000 | tr -d '\\n'; yes ado_hunter2 | head -c 4000000",
    "short writes": "i=0; while [ $i -lt 20000 ]; do echo $i; echo $i >&2; i=$((i+1)); done",
    "long events": """i=0; while [ $i -lt 10 ]; do printf '{"type":"progress","message":"' >&$ADO_EVENTS_FD
        yes ghp_ado_ | head -c 900000 | tr -d '\\n' >&$ADO_EVENTS_FD; echo '"}' >&$ADO_EVENTS_FD; i=$((i+1)); done""",
    "many events": """i=0; while [ $i -lt 20000 ]; do echo '{"type":"progress","percent":1}' >&8; i=$((i+1)); done""",
    "many files": MANY_FILES + "; mkdir -p d/d/d; chmod 0 d/d/d",
}


@pytest.fixture
def watched(dsn, home):
    made = Cluster(dsn, home, env=WATCHED)
    made.forks = False
    try:
        made.add_replicas(2)
        made.add_worker("w", "--slots", "4", "--capability", "shell")
        made.ado("run", "--remote", "--agent", "shell", "true", check=0)
        made.begun = {log: log.stat().st_size for log in logs(made)}  # a start imports, and nobody waits for it
        yield made
    finally:
        made.close()


def logs(cluster):
    return [*cluster.home.glob("api-*.log"), *cluster.home.glob("worker-*.log")]


def limit_seconds():
    """Return how long a loop may work without a pause on this machine as it is now."""
    began, total = time.thread_time(), 0
    for number in range(ADDITIONS):
        total += number
    return max(LIMIT_SECONDS, time.thread_time() - began)


def blocked(cluster):
    """Return where loops were blocked since the start, as replicas and workers have logged it."""
    found, limit = [], limit_seconds()
    for log in logs(cluster):
        for line in log.read_bytes()[cluster.begun[log] :].decode(errors="replace").splitlines():
            if '"event loop blocked"' in line:
                said = json.loads(line)
                if said["cpu_seconds"] > limit:
                    found.append(f"{log.name}: {said['cpu_seconds']} s of {said['seconds']} s\n{said['stack']}")
    return found


def test_the_watchdog_is_on(watched):
    """Every process has the watchdog; without it the tests below would find nothing."""
    for process in watched.processes:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert process.poll() is None
        assert f"ADO_LOOP_WATCHDOG_SECONDS={LIMIT_SECONDS}".encode() in environment


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_output_blocks_no_loop(watched, kind):
    watched.ado("run", "--remote", "--agent", "shell", HOSTILE[kind], check=0, timeout=240)
    assert not blocked(watched), "\n".join(blocked(watched))


def test_a_large_repository_blocks_no_loop(watched, tmp_path):
    for number in range(8000):
        path = tmp_path / str(number % 100) / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@e.x", "commit", "-qm", "a"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    change = f"for d in */; do echo x > $d/new.pem; for f in $d/*.txt; do echo y >> $f; done; done; {MANY_FILES}"
    watched.ado("run", "--remote", "--repo", "--agent", "shell", change, check=0, timeout=240, cwd=tmp_path)
    assert not blocked(watched), "\n".join(blocked(watched))
