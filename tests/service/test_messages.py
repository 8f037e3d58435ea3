"""Messages to agents, through two replicas and a worker: each delivered once, in whatever state the job is."""

import json
import re
import subprocess
import time

import pytest
from support.postgres import fast_directory, remove
from support.program import Cluster, until


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


def script(*steps):
    return "\n".join(map(json.dumps, steps))


def begin(cluster, *steps, agent="scripted", more=()):
    words = ["run", "--remote", "--detach", "-o", "name", "--agent", agent, "--no-repo", *more, script(*steps)]
    return cluster.ado(*words, check=0).stdout.decode().strip()


def send(cluster, task, text, *more, code=0, **options):
    done = cluster.ado("send", task, text, "-o", "json", *more, check=code, **options)
    return json.loads(done.stdout) if code == 0 else done.stderr.decode()


def of_type(cluster, task, *types):
    rows = cluster.sql(
        "select seq, job, attempt, type, body, data from ado.events where task_id = %s and type = any(%s) order by seq",
        int(task.removeprefix("task-")), list(types),
    )  # fmt: skip
    return [
        {"seq": seq, "job": job, "attempt": attempt, "type": kind, **(body or {"data": bytes(data or b"").decode()})}
        for seq, job, attempt, kind, body, data in rows
    ]


def wait_for(cluster, task, status):
    until(lambda: cluster.task(task)["status"] == status, f"{task} to be {status}")


def said(cluster, task):
    return "".join(event["data"] for event in of_type(cluster, task, "output"))


def test_a_running_agent_gets_a_message_in_its_next_turn_before_the_attempt_finishes(cluster, tmp_path):
    gate = tmp_path / "gate"
    task = begin(cluster, {"say": "begun"}, {"until": str(gate)})
    until(lambda: "begun" in said(cluster, task), "the agent to work")
    message = send(cluster, task, "use tabs")
    assert (message["state"], message["taskId"]) == ("waiting", task)
    gate.touch()
    wait_for(cluster, task, "succeeded")
    assert said(cluster, task) == "begun\nheard: use tabs\n"
    (told,) = of_type(cluster, task, "message")
    (delivered,) = of_type(cluster, task, "delivered")
    assert (told["messageId"], told["text"]) == (message["messageId"], "use tabs")
    assert (delivered["messageId"], delivered["job"], delivered["attempt"]) == (message["messageId"], 0, 1)
    (ended,) = of_type(cluster, task, "finished")
    assert delivered["seq"] < ended["seq"]


def test_a_queued_agent_gets_messages_with_its_prompt_in_their_order(cluster):
    task = begin(cluster, {"say": "begun"}, more=("--require", "later"))
    first, second = send(cluster, task, "one"), send(cluster, task, "two\nlines")
    assert [first["state"], first["jobs"]] == ["waiting", [{"job": 0, "state": "waiting"}]]
    cluster.add_worker("later", "--capability", "scripted", "--capability", "later")
    wait_for(cluster, task, "succeeded")
    assert said(cluster, task) == "begun\nheard: one\nheard: two\nlines\n"
    delivered = [event["messageId"] for event in of_type(cluster, task, "delivered")]
    assert delivered == [first["messageId"], second["messageId"]]
    cluster.ado("workers", "drain", "later", check=0)


@pytest.fixture
def repository(tmp_path):
    """A git repository with one commit."""
    for words in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "Begin"]):
        git(tmp_path, *words)
    return tmp_path


def git(where, *words):
    named = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    return subprocess.run(["git", *named, *words], cwd=where, check=True, capture_output=True, text=True).stdout


def run_in(cluster, repository, *steps, code=0, more=()):
    """Run a script in a repository to its end; return the task."""
    words = ["run", "--remote", "--repo", "--agent", "scripted", *more, script(*steps)]
    done = cluster.ado(*words, check=code, cwd=repository)
    return re.search(rb"task-\d+", done.stderr)[0].decode()


def test_a_job_that_has_ended_continues_with_its_session_and_its_files(cluster, repository):
    note = {"write": {"path": "note.txt", "text": "kept\n"}}
    task = run_in(cluster, repository, note, {"say": "first"}, {"turn": "s1"})
    message = send(cluster, task, "and then?")
    until(lambda: of_type(cluster, task, "delivered"), "the message to be delivered")
    wait_for(cluster, task, "succeeded")
    assert said(cluster, task) == "first\nheard: and then?\n"  # the session goes on: nothing is played twice
    (continued,) = of_type(cluster, task, "continued")
    assert continued["messageId"] == message["messageId"]
    (delivered,) = of_type(cluster, task, "delivered")
    assert delivered["attempt"] == 2
    assert len(of_type(cluster, task, "succeeded")) == 2
    cluster.ado("apply", task, check=0, cwd=repository)
    assert (repository / "note.txt").read_text() == "kept\n"


def test_a_failed_job_continues_too(cluster, repository):
    task = run_in(cluster, repository, {"turn": "s1"}, {"exit": 3}, code=3)
    send(cluster, task, "try again")
    until(lambda: of_type(cluster, task, "delivered"), "the message to be delivered")
    until(lambda: len(of_type(cluster, task, "finished")) == 2, "the second end")
    assert cluster.task(task)["status"] == "failed"  # the script's next step is the same exit


def test_a_message_to_all_reaches_each_job_that_is_not_cancelled(cluster, tmp_path):
    gate = tmp_path / "gate"
    task = begin(cluster, {"say": "begun"}, {"until": str(gate)}, more=("--workers", "3"))
    until(lambda: said(cluster, task).count("begun") == 3, "the agents to work")
    message = send(cluster, task, "all of you")
    send(cluster, task, "only you", "--job", "1")
    assert [job["job"] for job in message["jobs"]] == [0, 1, 2]
    gate.touch()
    wait_for(cluster, task, "succeeded")
    assert said(cluster, task).count("heard: all of you") == 3
    assert said(cluster, task).count("heard: only you") == 1
    assert len(of_type(cluster, task, "message")) == 2
    assert sorted(event["job"] for event in of_type(cluster, task, "delivered")) == [0, 1, 1, 2]


def test_an_agent_of_the_protocol_gets_a_message_between_two_turns_of_one_process(cluster, acp_programs, tmp_path):
    gate = tmp_path / "gate"
    env = acp_programs.environment("fake") | {"ADO_ISOLATED": "true"}
    cluster.add_worker("acp", "--capability", "fake", env=env)
    words = ["run", "--remote", "--detach", "-o", "name", "--agent", "fake", "--no-repo"]
    words += ["--wait-for-agent", f"until {gate}"]
    task = cluster.ado(*words, check=0).stdout.decode().strip()
    until(lambda: [event for event in of_type(cluster, task, "agent") if event["event"] == "session"], "its session")
    send(cluster, task, "use tabs")
    gate.touch()
    wait_for(cluster, task, "succeeded")
    agent = of_type(cluster, task, "agent")
    assert [event["message"] for event in agent if event["event"] == "result"] == [
        f"done with until {gate}", "done with use tabs",
    ]  # fmt: skip
    assert len([event for event in agent if event["event"] == "session"]) == 1  # no second process
    assert len(of_type(cluster, task, "delivered")) == 1
    cluster.ado("workers", "drain", "acp", check=0)


def test_a_message_is_given_again_when_its_worker_is_killed_and_the_log_has_it_once(cluster, tmp_path):
    """The first attempt has the receipt, but nothing of it is left: the next one begins anew, with every message."""
    task = begin(cluster, {"say": "begun"}, {"sleep": 600}, more=("--require", "doomed"))
    first = send(cluster, task, "one")
    victim = cluster.add_worker("doomed-1", "--capability", "scripted", "--capability", "doomed")
    until(lambda: of_type(cluster, task, "delivered"), "the receipt")
    second = send(cluster, task, "two")
    victim.kill()
    task_id = int(task.removeprefix("task-"))
    until(lambda: cluster.task(task)["status"] == "running" and cluster.task(task)["jobs"][0]["status"] == "queued",
          "the job to be queued again", 60)  # fmt: skip
    cluster.sql("update ado.tasks set prompt = %s where task_id = %s returning 1", script({"say": "anew"}), task_id)
    cluster.add_worker("doomed-2", "--capability", "scripted", "--capability", "doomed")
    wait_for(cluster, task, "succeeded")
    assert said(cluster, task).endswith("anew\nheard: one\nheard: two\n")
    delivered = [(event["messageId"], event["attempt"]) for event in of_type(cluster, task, "delivered")]
    assert delivered == [(first["messageId"], 1), (second["messageId"], 2)]
    assert len(of_type(cluster, task, "message")) == 2
    cluster.ado("workers", "drain", "doomed-2", check=0)


def test_a_command_that_is_killed_and_repeated_sends_its_message_once(cluster):
    task = begin(cluster, {"say": "x"}, more=("--require", "nothing"))
    for number in range(4):
        words = ["send", task, f"message {number}", "--key", f"key-{number}"]
        killed = cluster.open(*words)
        time.sleep(0.15 * number)  # the moment of the kill is what varies
        killed.kill()
        killed.communicate()
        cluster.ado(*words, check=0)
        cluster.ado(*words, check=0)
    assert [event["text"] for event in of_type(cluster, task, "message")] == [f"message {n}" for n in range(4)]
    cluster.ado("cancel", task, check=0)


def test_messages_are_stored_once_while_a_replica_is_killed(shared_dsn, cluster):
    task = begin(cluster, {"say": "x"}, more=("--require", "nothing"))
    cluster.add_replicas(1)
    victim, url = cluster.replicas.pop(), cluster.urls.pop()
    senders = [cluster.open("send", task, f"words {n}", url=f"{url},{cluster.urls[0]}") for n in range(6)]
    until(lambda: of_type(cluster, task, "message"), "the first message")
    victim.kill()
    for sender in senders:
        sender.communicate(timeout=60)
        assert sender.returncode == 0
    assert sorted(event["text"] for event in of_type(cluster, task, "message")) == [f"words {n}" for n in range(6)]
    cluster.ado("cancel", task, check=0)


def test_a_command_says_what_happens_to_its_message_and_what_a_refused_one_needs(cluster):
    task = begin(cluster, {"say": "x"}, more=("--require", "nothing"))
    command = [*cluster.program, "send", task, "-"]
    done = subprocess.run(command, input=b"from stdin\n", env=cluster.client_env(), capture_output=True, check=True)
    assert f"is sent to {task}".encode() in done.stderr + done.stdout
    assert b"when it starts" in done.stderr
    assert b"waiting: " in done.stderr
    shell = cluster.ado("run", "--remote", "--detach", "-o", "name", "--agent", "shell", "sleep 600", check=0)
    name = shell.stdout.decode().strip()
    refused = cluster.ado("send", name, "x", check=1)
    assert b"takes no messages" in refused.stderr
    assert b"ado run -i" in refused.stderr
    assert cluster.ado("send", "task-999", "x").returncode == 127
    assert cluster.ado("send", task, "").returncode == 2
    for ended in (task, name):
        cluster.ado("cancel", ended, check=0)
