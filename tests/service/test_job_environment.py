"""What a job finds in its environment, and that a job that hangs ends."""

import sys

import pytest
from support.program import Cluster

SHOW = 'echo "$PYTHONUNBUFFERED|$GIT_TERMINAL_PROMPT|$DEBIAN_FRONTEND|$CI|$FORCE_COLOR|$TERM"; wc -c'


@pytest.fixture
def working(cluster):
    cluster.add_worker("w")
    return cluster


def output(cluster, *arguments):
    return cluster.ado("run", "--remote", "--agent", "shell", *arguments, check=0).stdout.decode().split()


def test_a_job_has_the_variables_of_a_session_without_a_user(working):
    assert output(working, SHOW) == ["1|0|noninteractive|true||dumb", "0"]


def test_a_task_may_override_the_variables(working):
    found = output(working, "--env", "CI=", "--env", "PYTHONUNBUFFERED=", "--env", "FORCE_COLOR=3", SHOW)
    assert found == ["|0|noninteractive||3|dumb", "0"]


def test_lines_of_python_arrive_while_the_job_runs(working):
    """The job ends only when its line has been seen."""
    wait = "import subprocess\nprint('written')\nsubprocess.run(['ado', 'kv', 'wait', 'seen'], check=True)"
    command = ["run", "--remote", "--agent", "shell", "--", sys.executable, "-c", wait]
    process = working.open(*command)
    assert process.stdout.readline() == b"written\n"
    (task_id,) = working.sql("select task_id from ado.tasks")[0]
    working.ado("kv", "set", "seen", "yes", "--task", f"task-{task_id}", check=0)
    assert process.wait(60) == 0


def test_an_attempt_that_hangs_ends_without_a_timeout_of_its_own(dsn, home):
    cluster = Cluster(dsn, home, env={"ADO_TASK_TIMEOUT": "1"})
    try:
        cluster.add_replicas(1)
        cluster.add_worker("w")
        done = cluster.ado("run", "--remote", "--agent", "shell", "sleep 600", check=124)
        assert b"timed out after 1 s" in done.stderr
        cluster.ado("run", "--remote", "--agent", "shell", "--timeout", "1h", "sleep 3", check=0)
    finally:
        cluster.close()
