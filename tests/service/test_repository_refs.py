"""Commits beside a result, and the refs that ado keeps in the user's repository."""

import json
import os
import re
import subprocess

import pytest
from support.repositories import SETTINGS, Checkout


@pytest.fixture
def checkout(cluster):
    cluster.add_worker("w0", url=",".join(cluster.urls))
    cluster.add_worker("w1", url=",".join(reversed(cluster.urls)))
    return Checkout(cluster.home / "checkout", cluster)


WORK = r"""
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@a GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@a
git checkout -q -b topic; echo topic > t; git add t; git commit -qm topic; git checkout -q main
echo stashed > a; git stash -q
for name in inner "$(printf 'b\351 %%s\47x')"; do
  mkdir "$name"; cd "$name"; git init -q; echo "in it" > f; git add f; git commit -qm x; echo changed >> f; cd ..
done
"""


def test_extra_commits_are_fetched_by_the_printed_commands(checkout):
    checkout.commit({"a": "1\n"})
    done = checkout.run(WORK).stderr.decode()
    (command,) = re.findall(r"also returned: branch topic, stash 0, .*; get them with: ado (.*)", done)
    assert "left out" not in done
    printed = checkout.ado(*command.split()).stdout.decode().splitlines()
    commands = ["git " + line.partition("  git ")[2] for line in printed]
    assert len(commands) == 4
    env = {**os.environ, **SETTINGS}
    shown = [subprocess.check_output(["bash", "-c", words], cwd=checkout.path, env=env) for words in commands]
    assert b"topic" in shown[0]
    assert checkout.read("a") == "stashed\n"
    for name in (b"inner", b"b\xe9 %s'x"):
        assert checkout.read(f"{os.fsdecode(name)}/f") == "in it\nchanged\n"
    said = checkout.ado("apply", "task-1").stderr
    assert b"branch topic was returned too: git log refs/ado/task-1/extra/0/branch/topic" in said
    items = json.loads(checkout.ado("refs", "fetch", "task-1", "-o", "json").stdout)["items"]
    assert {item["ref"] for item in items} <= refs(checkout)


def refs(checkout):
    return set(checkout.git("for-each-ref", "--format=%(refname)", "refs/ado").split())


def test_refs_of_removed_and_applied_tasks_are_pruned(checkout):
    checkout.commit({"a": "1\n"})
    for number in range(1, 5):
        checkout.run(f"echo {number} > f{number}")
        checkout.ado("diff", f"task-{number}")
    checkout.ado("apply", "task-1")
    checkout.ado("checkout", "task-2")
    checkout.git("checkout", "--quiet", "main")
    assert len(refs(checkout)) == 8
    pruned = checkout.ado("refs", "prune")
    assert refs(checkout) == {f"refs/ado/task-{number}/{name}" for number in (3, 4) for name in ("0", "base")}
    assert b"4 refs of 2 tasks removed; 2 tasks keep theirs" in pruned.stderr
    ref, commit = pruned.stdout.decode().splitlines()[0].split()
    checkout.git("update-ref", ref, commit)
    removed = checkout.ado("tasks", "rm", "task-3")
    assert b"task-3 is removed" in removed.stderr
    assert b"ref removed: refs/ado/task-3/0 " in removed.stderr
    assert b"there is no task" in checkout.ado("tasks", "rm", "task-3", check=127).stderr
    checkout.ado("tasks", "rm", "task-4", cwd="/")
    assert "refs/ado/task-4/0" in refs(checkout)
    checkout.ado("refs", "prune")
    assert refs(checkout) == set()
    checkout.run("echo 5 > f5")
    assert b"add --yes" in checkout.ado("refs", "prune", "--all", check=2).stderr
    assert refs(checkout)
    checkout.ado("refs", "prune", "--all", "--yes")
    assert refs(checkout) == set()
