"""Real input and real speed: a published package's own tests as two shards, and the time from write to screen."""

import json
import subprocess
import sys

import pytest
from support.program import until


@pytest.fixture
def workers(cluster):
    first, second = cluster.urls
    cluster.add_worker("w0", url=f"{first},{second}")
    cluster.add_worker("w1", url=f"{second},{first}")
    return cluster


def test_a_published_packages_tests_run_as_two_shards(workers, tmp_path):
    """six 1.17.0, as its authors published it: every test runs once, in one of two jobs."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-binary",
        ":all:",
    ]
    subprocess.run([*command, "-d", tmp_path, "six==1.17.0"], check=True, capture_output=True, timeout=120)
    (sdist,) = tmp_path.glob("six-*.tar.gz")
    script = f"""
        set -e
        tar xzf {sdist} && cd six-*
        {sys.executable} -m pytest -q --collect-only -p no:cacheprovider test_six.py | grep :: > every
        awk -v shard=$ADO_JOB_INDEX 'NR % 2 == shard' every > mine
        echo "every $(wc -l < every)"
        tr '\\n' '\\0' < mine | xargs -0 {sys.executable} -m pytest -q -p no:cacheprovider -p no:randomly
    """
    done = workers.ado("run", "--remote", "--workers", "2", "--agent", "shell", script, check=0, timeout=110)
    text = done.stdout.decode()
    assert text.count("[0] every ") == text.count("[1] every ") == 1
    every = int(text.partition("every ")[2].split()[0])
    words = text.replace(",", "").split()
    outcomes = [
        int(words[at - 1])
        for at, word in enumerate(words)
        if word in ("passed", "skipped", "xfailed") and words[at - 1].isdigit()
    ]
    assert every > 150
    assert sum(outcomes) == every
    assert {job["workerId"] for job in workers.task("task-1")["jobs"]} == {"w0", "w1"}


def test_a_local_spawner_starts_workers_up_to_a_maximum_beside_another_one(cluster):
    for name in ("s0", "s1"):
        cluster.start("spawner", "--max", "3", "--url", ",".join(cluster.urls), "--work-dir", str(cluster.home / name))
    done = cluster.ado(
        "run", "--remote", "--workers", "6", "--agent", "shell", "sleep 0.3; echo $ADO_WORKER_ID", check=0
    )
    names = {line.split()[1] for line in done.stdout.decode().splitlines()}
    assert 1 <= len(names) <= 3
    starting = "select from ado.worker_status where state = 'starting'"
    until(lambda: not cluster.sql(starting), "the last worker to have started, or to be forgotten")
    ((known,),) = cluster.sql("select count(*) from ado.workers where backend = 'local'")
    assert len(names) <= known <= 3


def test_a_worker_process_that_dies_is_replaced_by_the_spawner(cluster):
    cluster.start("spawner", "--max", "2", "--url", ",".join(cluster.urls), "--work-dir", str(cluster.home / "w"))
    watching = cluster.open(
        "run", "--remote", "--agent", "shell", "echo $ADO_ATTEMPT; [ $ADO_ATTEMPT = 2 ] || sleep 300"
    )
    assert watching.stdout.readline() == b"1\n"
    workers = json.loads(cluster.ado("workers", "list", "--state", "busy", "-o", "json", check=0).stdout)["items"]
    subprocess.run(["kill", "-9", str(workers[0]["pid"])], check=True)
    out, _ = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (0, b"2\n")
    until(lambda: workers[0]["workerId"] not in cluster.ado("workers", "status", "-o", "name").stdout.decode())
