"""Schedules on three replicas, some of which are killed: each time runs exactly once."""

import json
import os
import signal
from datetime import datetime, timedelta

import pytest
from support.program import Cluster, until

SECONDS = int(os.environ.get("ADO_SCHEDULE_SECONDS", "8"))


@pytest.fixture
def three(dsn, home):
    made = Cluster(dsn, home)
    try:
        yield made.add_replicas(3)
    finally:
        made.close()


def ran(cluster):
    """Return the times that ran, in the order of their tasks."""
    rows = cluster.sql("select idempotency_key from ado.tasks where labels ? 'schedule' order by task_id")
    return [datetime.fromisoformat(key.partition("@")[2]) for (key,) in rows]


def kill(cluster):
    """Kill a replica and start another one in its place."""
    process = cluster.replicas.pop(0)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    cluster.urls.pop(0)
    cluster.add_replicas(1)


@pytest.mark.timeout(120 + 2 * SECONDS)
def test_each_second_runs_once_over_three_replicas_of_which_some_are_killed(three):
    """With ADO_SCHEDULE_SECONDS=120 it takes two minutes, and a replica is killed every ten seconds or so."""
    three.ado("template", "save", "tick", "echo {what}", "--agent", "shell", check=0)
    words = ("--var", "what=tick", "--overlap", "allow", "-o", "json")
    added = json.loads(three.ado("schedule", "add", "* * * * * *", "@tick", *words, check=0).stdout)
    first = datetime.fromisoformat(added["nextAt"])
    for done in range(SECONDS // 2, SECONDS, 10):
        until(lambda done=done: len(ran(three)) >= done, f"{done} times", seconds=120)
        kill(three)
    until(lambda: len(ran(three)) >= SECONDS, f"{SECONDS} times", seconds=120)
    three.ado("schedule", "pause", added["scheduleId"], check=0)
    found = ran(three)
    assert found == [first + timedelta(seconds=number) for number in range(len(found))]
    (shown,) = json.loads(three.ado("schedule", "list", "-o", "json", check=0).stdout)["items"]
    assert (shown["state"], shown["runs"], shown["missedTimes"]) == ("paused", len(found), 0)


def test_a_person_saves_a_task_and_runs_it_again(cluster):
    cluster.add_worker("w1")
    cluster.ado("run", "--remote", "--agent", "shell", "echo {greeting} {name}", "--label", "team=web", check=0)
    saved = cluster.ado("template", "save", "greet", "--from", "task-1", check=0)
    assert b"variables of @greet: {greeting}, {name}" in saved.stderr
    words = ("--var", "greeting=hello", "--var", "name=you $HOME", "--label", "more=x")
    assert cluster.ado("run", "@greet", *words, check=0).stdout.startswith(b"hello you /")
    assert cluster.task("task-2")["labels"] == {"team": "web", "more": "x"}
    assert b"--var name=VALUE" in cluster.ado("run", "@greet", "--var", "greeting=x", check=2).stderr
    assert b"its variables are greeting, name" in cluster.ado("run", "@greet", *words, "--var", "y=1", check=2).stderr
    assert b"template list" in cluster.ado("run", "@other", check=127).stderr
    assert b"needs a template" in cluster.ado("run", "echo", "--var", "y=1", check=2).stderr
    assert b"@greet" in cluster.ado("template", check=0).stdout
    assert b"echo {greeting} {name}\n" in cluster.ado("template", "show", "@greet", check=0).stdout
    assert b"never comes" in cluster.ado("schedule", "add", "0 0 31 2 *", "@greet", *words[:4], check=2).stderr
    cluster.ado("schedule", "add", "0 3 * * 1-5", "@greet", *words[:4], "--timezone", "Europe/Prague", check=0)
    listed = cluster.ado("schedule", check=0).stdout
    assert b"Europe/Prague" in listed
    assert b"@greet greeting=hello" in listed
    assert b"used by schedule-1" in cluster.ado("template", "remove", "greet", check=1).stderr
    for change in ("pause", "resume", "remove"):
        cluster.ado("schedule", change, "schedule-1", check=0)
    assert cluster.ado("template", "remove", "greet", "-o", "name", check=0).stdout == b"greet\n"
