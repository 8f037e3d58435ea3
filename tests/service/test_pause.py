"""Pausing and resuming tasks through two replicas, with real workers and commands."""

import json
import re
import signal
import subprocess

import pytest
from support.postgres import fast_directory, remove
from support.program import Cluster, until

from app.rpc.client import CallError, HttpClient


@pytest.fixture(scope="module")
def cluster(shared_dsn):
    home = fast_directory()
    made = Cluster(shared_dsn, home)
    try:
        made.add_replicas(2)
        made.add_worker("main", "--slots", "4")
        yield made
    finally:
        made.close()
        remove(home)


@pytest.fixture
def api(cluster):
    client = HttpClient(cluster.urls, cluster.token)
    yield client
    client.close()


@pytest.fixture
def repository(tmp_path):
    """A git repository with one commit."""
    where = tmp_path / "repository"
    where.mkdir()
    named = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for words in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "Begin"]):
        subprocess.run(["git", *named, *words], cwd=where, check=True, capture_output=True)
    return where


def script(*steps):
    return "\n".join(map(json.dumps, steps))


def begin(cluster, prompt, *more, agent="scripted", cwd=None):
    where = ["--repo"] if cwd else ["--no-repo"]
    words = ["run", "--remote", "--detach", "-o", "name", "--agent", agent, *where, *more, prompt]
    return cluster.ado(*words, check=0, cwd=cwd or "/").stdout.decode().strip()


def of_type(cluster, task, *types):
    rows = cluster.sql(
        "select job, attempt, type, body, data from ado.events where task_id = %s and type = any(%s) order by seq",
        number(task), list(types),
    )  # fmt: skip
    return [
        {"job": job, "attempt": attempt, "type": kind, **(body or {"data": bytes(data or b"").decode()})}
        for job, attempt, kind, body, data in rows
    ]


def types(cluster, task):
    return [
        kind for (kind,) in cluster.sql("select type from ado.events where task_id = %s order by seq", number(task))
    ]


def number(task):
    return int(task.removeprefix("task-"))


def said(cluster, task):
    return "".join(event["data"] for event in of_type(cluster, task, "output"))


def wait_for(cluster, task, status):
    until(lambda: cluster.task(task)["status"] == status, f"{task} to be {status}")


def test_a_paused_agent_goes_on_in_its_session_with_the_words_of_the_resume(cluster, repository, tmp_path):
    gate = tmp_path / "gate"
    steps = [
        {"write": {"path": "note.txt", "text": "kept\n"}},
        {"say": "before"},
        {"turn": "s1"},
        {"until": str(gate)},
        {"say": "after"},
    ]
    task = begin(cluster, script(*steps), cwd=repository)
    until(lambda: of_type(cluster, task, "agent"), "the end of a turn")
    paused = cluster.ado("pause", task, "--reason", "lunch", check=0)
    assert b"is being paused; 1 job is stopping" in paused.stderr
    wait_for(cluster, task, "paused")
    (job,) = cluster.task(task)["jobs"]
    assert (job["status"], job["reason"], "message" in job) == ("paused", "paused", False)
    until(
        lambda: cluster.sql("select from ado.worker_status where worker_id = 'main' and running_jobs = 0"), "its slot"
    )
    gate.touch()
    resumed = cluster.ado("resume", task, "use tabs", check=0)
    assert f"{task} goes on".encode() in resumed.stderr
    wait_for(cluster, task, "succeeded")
    assert said(cluster, task) == "before\nafter\nheard: use tabs\n"  # nothing is played twice
    (released,) = of_type(cluster, task, "released")
    assert (released["reason"], released["paused"], "message" in released) == ("paused", True, False)
    (told,) = of_type(cluster, task, "paused")
    assert told["reason"] == "lunch"
    (delivered,) = of_type(cluster, task, "delivered")
    assert delivered["attempt"] == 2
    cluster.ado("apply", task, check=0, cwd=repository)
    assert (repository / "note.txt").read_text() == "kept\n"


def test_an_agent_without_a_session_begins_again_and_the_event_says_so(cluster, tmp_path):
    gate = tmp_path / "gate"
    task = begin(cluster, f"echo begun; until [ -e {gate} ]; do sleep 0.05; done", agent="shell")
    until(lambda: "begun" in said(cluster, task), "the command to run")
    cluster.ado("pause", task, check=0)
    wait_for(cluster, task, "paused")
    (released,) = of_type(cluster, task, "released")
    assert released["message"] == "no session of its agent could be saved, so the next attempt begins again"
    assert cluster.task(task)["jobs"][0]["message"] == released["message"]
    gate.touch()
    assert cluster.ado("resume", task, "words").returncode == 1  # a command takes no messages
    assert cluster.task(task)["status"] == "paused"
    cluster.ado("resume", task, check=0)
    wait_for(cluster, task, "succeeded")
    assert said(cluster, task) == "begun\nbegun\n"


def test_a_queued_task_is_paused_at_once_and_a_message_waits_for_its_resume(cluster):
    task = begin(cluster, script({"say": "begun"}), "--require", "later")
    assert f"{task} is paused".encode() in cluster.ado("pause", task, check=0).stderr
    sent = cluster.ado("send", task, "one", check=0)
    assert f"when it goes on: ado resume {task}".encode() in sent.stderr
    cluster.add_worker("later", "--capability", "scripted", "--capability", "later")
    until(lambda: cluster.sql("select from ado.worker_status where worker_id = 'later' and state = 'idle'"), "a worker")
    shown = cluster.ado("tasks", "show", task, check=0).stdout.decode()
    assert "it is paused; go on with: ado resume" in shown
    assert "it is paused" in cluster.ado("explain", task, check=0).stdout.decode()
    assert task in cluster.ado("tasks", "list", "--status", "paused", check=0).stdout.decode()
    assert re.search(r"running, [1-9]\d* paused", cluster.ado("workers", "status", check=0).stdout.decode())
    cluster.ado("resume", task, "two", check=0)
    wait_for(cluster, task, "succeeded")
    assert said(cluster, task) == "begun\nheard: one\nheard: two\n"
    assert len(of_type(cluster, task, "started")) == 1
    cluster.ado("workers", "drain", "later", check=0)


def test_watching_commands_say_that_a_task_is_paused_and_follow_it_to_its_end(cluster, tmp_path):
    gate = tmp_path / "gate"
    task = begin(cluster, f"echo begun; until [ -e {gate} ]; do sleep 0.05; done", agent="shell")
    until(lambda: "begun" in said(cluster, task), "the command to run")
    watching = [cluster.open("attach", task), cluster.open("wait", task)]
    cluster.ado("pause", task, "--reason", "lunch", check=0)
    wait_for(cluster, task, "paused")
    late = cluster.open("wait", task)
    for process in (*watching, late):
        assert any(b"paused" in line and b"ado resume" in line for line in iter(process.stderr.readline, b""))
        assert process.poll() is None
    gate.touch()
    cluster.ado("resume", task, check=0)
    for process in (*watching, late):
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.mark.parametrize("graceful", [True, False])
def test_a_paused_task_that_is_cancelled_ends_and_stays_so(cluster, graceful):
    steps = [{"say": "begun"}, {"sleep": 600}] if graceful else [{"ignore": True}, {"say": "begun"}, {"sleep": 600}]
    task = begin(cluster, script(*steps))
    until(lambda: "begun" in said(cluster, task), "the agent to work")
    cluster.ado("pause", task, check=0)
    if graceful:  # otherwise its worker still waits for the agent to end
        wait_for(cluster, task, "paused")
    cluster.ado("cancel", task, check=0)
    wait_for(cluster, task, "cancelled")
    assert b"has ended already: cancelled" in cluster.ado("resume", task, check=0).stderr
    assert b"has ended already: cancelled" in cluster.ado("pause", task, check=0).stderr
    assert cluster.ado("resume", task, "words").returncode == 1
    assert cluster.task(task)["status"] == "cancelled"


def test_a_task_that_is_being_cancelled_is_not_said_to_be_paused(cluster):
    task = begin(cluster, script({"ignore": True}, {"say": "begun"}, {"sleep": 600}))
    until(lambda: "begun" in said(cluster, task), "the agent to work")
    cluster.ado("cancel", task, check=0)  # its worker waits ten seconds for the agent to end
    paused = cluster.ado("pause", task, check=0)
    assert paused.stderr == f"ado: {task} is ending: it has no job that could be paused\n".encode()


def test_a_worker_that_is_killed_while_it_pauses_leaves_the_job_paused(cluster):
    task = begin(cluster, script({"ignore": True}, {"say": "begun"}, {"sleep": 600}), "--require", "doomed")
    victim = cluster.add_worker("doomed", "--capability", "scripted", "--capability", "doomed")
    until(lambda: "begun" in said(cluster, task), "the agent to work")
    cluster.ado("pause", task, check=0)
    victim.send_signal(signal.SIGKILL)  # its agent does not end at once, so it has not handed the job back
    cluster.add_worker("other", "--capability", "scripted", "--capability", "doomed")
    wait_for(cluster, task, "paused")
    (requeued,) = of_type(cluster, task, "requeued")
    assert (requeued["reason"], requeued["paused"]) == ("lost", True)
    cluster.sql("update ado.tasks set prompt = %s where task_id = %s returning 1",
                script({"say": "anew"}), number(task))  # fmt: skip
    cluster.ado("resume", task, check=0)
    wait_for(cluster, task, "succeeded")
    assert said(cluster, task) == "begun\nanew\n"
    counted = cluster.sql("select losses, interruptions from ado.jobs where task_id = %s", number(task))
    assert counted == [(0, 0)]
    cluster.ado("workers", "drain", "other", check=0)


def test_a_check_that_did_not_run_yet_keeps_a_paused_job_from_succeeding(cluster, tmp_path):
    gate = tmp_path / "gate"
    task = begin(
        cluster, script({"say": "begun"}), "--check", f"until [ -e {gate} ]; do sleep 0.05; done; echo checked"
    )
    until(lambda: "begun" in said(cluster, task), "the agent to work")
    cluster.ado("pause", task, check=0)
    wait_for(cluster, task, "paused")
    gate.touch()
    cluster.ado("resume", task, check=0)
    wait_for(cluster, task, "succeeded")
    (check,) = of_type(cluster, task, "check")
    assert (check["attempt"], check["exitCode"]) == (2, 0)


def test_calls_with_bad_input_are_refused_and_change_nothing(cluster, api):
    task = begin(cluster, script({"say": "x"}), "--require", "nothing")
    bad = [
        ("tasks.pause", {"reason": "a\x00b"}),
        ("tasks.pause", {"reason": "x" * 1001}),
        ("tasks.pause", {"reason": 5}),
        ("tasks.resume", {"text": ""}),
        ("tasks.resume", {"text": "a\x1b[31mb"}),
        ("tasks.resume", {"text": "x" * (1024 * 1024 + 1)}),
        ("tasks.resume", {"idempotencyKey": ""}),
    ]
    for path, members in bad:
        with pytest.raises(CallError) as refused:
            api.mutate(path, {"taskId": task, **members})
        assert refused.value.code == "BAD_REQUEST", (path, members)
    for path in ("tasks.pause", "tasks.resume"):
        with pytest.raises(CallError) as unknown:
            api.mutate(path, {"taskId": "task-999999"})
        assert unknown.value.reason == "no_such_task"
    assert types(cluster, task) == ["created"]
    for _ in range(2):
        api.mutate("tasks.pause", {"taskId": task})
    for _ in range(2):  # an answer that was lost: the same key sends the words once
        api.mutate("tasks.resume", {"taskId": task, "text": "go", "idempotencyKey": "k"})
    assert types(cluster, task) == ["created", "paused", "message", "resumed"]
    cluster.ado("cancel", task, check=0)
