"""A repository goes out and comes home, through two replicas and with real git."""

import json
import os
import subprocess

import pytest
from support.program import until

SETTINGS = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "me",
    "GIT_AUTHOR_EMAIL": "me@example.org",
    "GIT_COMMITTER_NAME": "me",
    "GIT_COMMITTER_EMAIL": "me@example.org",
}


class Checkout:
    """The user's repository, and the program run in it."""

    def __init__(self, path, cluster):
        self.path = path
        self.cluster = cluster
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words, check=True):
        done = subprocess.run(
            ["git", *words], cwd=self.path, env={**os.environ, **SETTINGS}, capture_output=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.decode()

    def write(self, **files):
        for name, text in files.items():
            path = self.path / name.replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, message="a commit", **files):
        self.write(**files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def ado(self, *arguments, check=0):
        env = {**self.cluster.client_env(), **SETTINGS}
        done = subprocess.run(
            [*self.cluster.program, *arguments], cwd=self.path, env=env, stdin=subprocess.DEVNULL, capture_output=True,
            check=False, timeout=90,
        )  # fmt: skip
        assert done.returncode == check, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def run(self, script, *options, check=0):
        return self.ado("run", "--remote", "--repo", "--agent", "shell", *options, script, check=check)


@pytest.fixture
def checkout(cluster):
    cluster.add_worker("w0", url=",".join(cluster.urls))
    cluster.add_worker("w1", url=",".join(reversed(cluster.urls)))
    return Checkout(cluster.home / "checkout", cluster)


def test_an_edit_comes_home_as_a_branch_and_is_applied(checkout):
    base = checkout.commit(calc="a - b\n")
    done = checkout.run("sed -i 's/-/+/' calc; echo new > added; git log --format=%s; git status --short")
    assert done.stdout == b"a commit\n M calc\n?? added\n"
    assert b"2 files +2" in done.stderr
    assert b"ado/task-1" in done.stderr
    shown = checkout.ado("diff", "task-1").stdout.decode()
    assert "-a - b\n+a + b\n" in shown
    assert (checkout.path / "calc").read_text() == "a - b\n"
    checkout.ado("apply", "task-1")
    assert (checkout.path / "calc").read_text() == "a + b\n"
    assert checkout.git("status", "--short") == " M calc\n?? added\n"
    checkout.git("stash", "--include-untracked")
    checkout.ado("checkout", "task-1")
    assert checkout.git("log", "--format=%an %s", "-2").splitlines()[1] == "me a commit"
    assert checkout.git("rev-parse", "HEAD~1").strip() == base
    assert checkout.git("symbolic-ref", "--short", "HEAD") == "ado/task-1\n"
    refs = checkout.git("for-each-ref", "--format=%(refname)").split()
    assert set(refs) == {
        "refs/heads/main",
        "refs/heads/ado/task-1",
        "refs/ado/task-1/0",
        "refs/ado/task-1/base",
        "refs/stash",
    }


def lines(*steps):
    return "\n".join(json.dumps(step) for step in steps)


def kill_holder(cluster):
    """Kill the worker that holds the job."""
    ((name,),) = cluster.sql("select worker_id from ado.jobs where status = 'running'")
    next(process for process in cluster.processes if name in process.args).kill()


@pytest.fixture
def quick(cluster):
    """Workers that save whenever a turn ends."""
    for name in ("w0", "w1"):
        cluster.add_worker(name, env={"ADO_CHECKPOINT_SECONDS": "0"})
    return Checkout(cluster.home / "checkout", cluster)


def test_a_killed_worker_costs_no_turn(quick):
    """kill -9 of the worker: the next attempt has tree, session and path, and goes on after the last turn."""
    cluster, gate = quick.cluster, quick.cluster.home / "gate"
    quick.commit(first="1\n")
    script = lines(
        {"write": {"path": "second", "text": "2\n"}},
        {"say": "before"},
        {"turn": "conversation"},
        {"until": str(gate)},
        {"say": "after"},
        {"write": {"path": "third", "text": "3\n"}},
    )
    wish = ("run", "--remote", "--repo", "--agent", "scripted", "--detach", script)
    quick.ado(*wish)
    until(lambda: cluster.sql("select from ado.events where type = 'checkpoint'"), "a checkpoint")
    kill_holder(cluster)
    gate.touch()
    quick.ado("wait", "task-1")
    events = cluster.events("task-1")
    assert [event["session"] for event in events if event["type"] == "checkpoint"] == ["conversation"]
    said = [event["data"] for event in events if event["type"] == "output"]
    assert said == ["before\n", "after\n"]
    assert [event["attempt"] for event in events if event["type"] == "started"] == [1, 2]
    assert "goes on where attempt 1" in "".join(event.get("message", "") for event in events)
    assert quick.ado("diff", "task-1", "--stat").stdout.decode().split("\n")[:2] == [" second | 1 +", " third  | 1 +"]
