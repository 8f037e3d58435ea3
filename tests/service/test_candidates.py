"""Several answers to one question, from the command line: run, compare, pick, and a pull request."""

import json

import pytest
from support.repositories import Checkout, Tree

FAKE_SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift 2; done
shift
exec sh -c "$*"
"""
GH = """#!/bin/sh
printf '%s\\n' "$@" > {log}
echo https://github.example/acme/shop/pull/5
"""


@pytest.fixture
def checkout(cluster):
    made = Checkout(cluster.home / "checkout", cluster)
    made.commit({"a": "1\n"})
    return made


def told(done):
    return done.stderr.decode()


def test_the_answers_of_several_agents_are_compared_and_one_is_picked(checkout):
    cluster = checkout.cluster
    script = "echo $ADO_JOB_INDEX > new"
    agents = ("--workers", "3", "--agent", "scripted", "--agent", "shell", "--wait-for-agent")
    checkout.ado("run", "--remote", "--repo", *agents, "--check", "test -s new", "--detach", script)
    assert b"1    shell     queued  -       -      -      -     -" in checkout.ado("compare", "task-1").stdout
    assert "no result yet" in told(checkout.ado("pick", "task-1", "--job", "1", check=1))
    cluster.add_worker("w0")
    assert "agents scripted, shell in turn" in checkout.ado("tasks", "show", "task-1").stdout.decode()
    ended = checkout.ado("attach", "task-1", check=1)  # the prompt is a command, so scripted fails
    assert "what each agent made of it: ado compare task-1" in told(ended)
    assert b"  ado compare task-1\n" in checkout.ado("inbox").stdout
    compared = json.loads(checkout.ado("compare", "task-1", "-o", "json").stdout)["items"]
    assert [(item["agent"], item["status"], item.get("checks")) for item in compared] == [
        ("scripted", "failed", None), ("shell", "succeeded", "passed"), ("scripted", "failed", None),
    ]  # fmt: skip
    assert (compared[1]["files"], compared[1]["added"], compared[0]["files"]) == (1, 1, 0)
    shown = checkout.ado("compare", "task-1", "--diff", "0", "1").stdout
    assert b"+++ b/new\n@@ -0,0 +1 @@\n+1\n" in shown
    checkout.ado("pick", "task-1", "--job", "1")
    assert checkout.read("new") == "1\n"
    assert cluster.task("task-1")["pickedJob"] == 1
    assert b"picked" in checkout.ado("compare", "task-1").stdout.splitlines()[2]
    assert cluster.events("task-1")[-1]["type"] == "picked"  # reading ends there, although the task ended before


def test_a_refused_pick_changes_and_records_nothing(checkout):
    cluster = checkout.cluster
    cluster.add_worker("w0")
    checkout.run("echo job $ADO_JOB_INDEX > a", "--workers", "2")
    checkout.write({"a": "mine\n"})
    assert "then repeat: ado pick task-1 --job 1" in told(checkout.ado("pick", "task-1", "--job", "1", check=1))
    assert (checkout.read("a"), cluster.task("task-1").get("pickedJob")) == ("mine\n", None)
    assert "several jobs of task-1 changed something" in told(checkout.ado("pick", "task-1", check=2))
    checkout.git("checkout", "a")
    checkout.ado("pick", "task-1", "--job", "1", "--checkout")
    assert checkout.git("symbolic-ref", "--short", "HEAD") == "ado/task-1-2\n"
    assert b"2, picked 1" in checkout.ado("tasks").stdout


def test_a_pull_request_has_the_prompt_as_title_and_the_task_in_its_body(checkout, tmp_path):
    """``gh`` is a stub on the PATH, because the real one needs an account; git and its protocol are real."""
    cluster, log = checkout.cluster, tmp_path / "called"
    for name, text in (("ssh", FAKE_SSH), ("gh", GH.replace("{log}", str(log)))):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    there = Tree(tmp_path / "shop.git", init=False)
    checkout.git("init", "--quiet", "--bare", str(there.path))
    cluster.add_worker("w0")
    checkout.run(": --web; echo 2 > a  # fix \x1b[31mit", "--workers", "2")
    assert "no remote to push to" in told(checkout.ado("pr", "task-1", "--job", "1", check=1))
    checkout.git("remote", "add", "origin", f"ssh://git@github.example{there.path}")
    cluster.env |= {"GIT_SSH_COMMAND": str(tmp_path / "ssh"), "PATH": "/usr/bin:/bin"}
    page = f"https://github.example{there.path}".removesuffix(".git") + "/pull/new/ado/task-1-2\n"
    without = checkout.ado("pr", "task-1", "--job", "1")
    assert (without.stdout.decode(), "or install gh" in told(without)) == (page, True)
    checkout.ado("pick", "task-1", "--job", "1")
    cluster.env["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    done = checkout.ado("pr", "task-1", "-o", "json")  # again, and of the job that was picked
    value = json.loads(done.stdout)
    assert (value["url"], value["branch"]) == ("https://github.example/acme/shop/pull/5", "ado/task-1-2")
    assert there.git("rev-parse", "ado/task-1-2").strip() == value["commit"]
    called = log.read_text()
    assert "--title\n: --web; echo 2 > a # fix [31mit\n" in called
    assert called.endswith("--body\nMade by shell in task-1/1 of ado.\n\n")
    assert there.git("show", "ado/task-1-2:a") == "2\n"
