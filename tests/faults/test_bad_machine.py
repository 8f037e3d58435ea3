"""A worker whose machine cannot run jobs releases them, reports why, and resumes when it can."""

import json
import shutil

import pytest
from support.program import until

HERE = ["--capability", "shell", "--capability", "here"]


def status(cluster):
    found = json.loads(cluster.ado("workers", "status", "-o", "json", check=0).stdout)
    alive = ("idle", "busy", "suspect")  # one whose heartbeat is late has not gone
    return {worker["workerId"]: worker for worker in found["workers"] if worker["state"] in alive}


def task(cluster, name):
    return json.loads(cluster.ado("tasks", "show", name, "-o", "json", check=0).stdout)


def is_shown(cluster):
    """Whether the list of workers has the reason that the API gives; a probe puts its own in place of the job's."""
    reason = status(cluster)["bad"]["problem"]
    return f"bad takes no jobs: {reason}" in cluster.ado("workers", "status", check=0).stdout.decode()


def run(cluster, *arguments):
    done = cluster.ado("run", "--remote", "--detach", "-o", "name", "--agent", "shell", *arguments, check=0)
    return done.stdout.decode().strip()


def start(cluster, name, work, *arguments, limit=""):
    """Start a worker with a directory of its own, under a limit of the shell's."""
    url, token = ",".join(cluster.urls), str(cluster.home / "admin-token")
    command = [*cluster.program, "worker", "--id", name, "--url", url, "--token-file", token, "--work-dir", str(work)]
    return cluster.launch(["/bin/sh", "-c", f'{limit} exec "$@"', "sh", *command, *HERE, *arguments], name=name)


@pytest.fixture
def bad(cluster):
    """A worker whose directory has become a file."""
    work = cluster.home / "gone"
    start(cluster, "bad", work)
    until(lambda: "bad" in status(cluster), "the worker")
    shutil.rmtree(work, ignore_errors=True)
    work.touch()
    return work


def test_jobs_go_to_a_worker_that_can_run_them(cluster, bad):
    cluster.add_worker("good", *HERE)
    until(lambda: "good" in status(cluster), "the other worker")
    name = run(cluster, "--workers", "12", "--require", "here", "true")
    cluster.ado("wait", name, check=0)
    assert {job["workerId"] for job in task(cluster, name)["jobs"]} == {"good"}


def test_the_problem_is_shown_and_the_worker_resumes_once_it_ends(cluster, bad):
    name = run(cluster, "--require", "here", "true")
    problem = until(lambda: status(cluster)["bad"].get("problem"), "the reason")
    assert str(bad) in problem
    until(lambda: is_shown(cluster), "the reason in the list of workers")
    assert task(cluster, name)["jobs"][0]["attempt"] <= 2  # it has not been tried again and again
    bad.unlink()
    cluster.ado("wait", name, check=0)
    assert task(cluster, name)["status"] == "succeeded"
    until(lambda: "problem" not in status(cluster)["bad"], "the reason to be gone")


def test_a_worker_without_descriptors_releases_its_jobs(cluster):
    """Eight concurrent jobs are too many for it; it runs those that it can."""
    worker = start(cluster, "poor", cluster.home / "poor", "--slots", "8", limit="ulimit -n 56;")
    until(lambda: "poor" in status(cluster), "the worker")
    name = run(cluster, "--workers", "8", "--require", "here", "sleep 1")
    until(lambda: status(cluster)["poor"].get("problem"), "the reason")
    cluster.add_worker("good", "--slots", "8", *HERE)
    cluster.ado("wait", name, check=0, timeout=60)
    assert worker.poll() is None
    until(lambda: "problem" not in status(cluster)["poor"], "the reason to be gone", 60)
