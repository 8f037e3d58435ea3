"""An agent asks to use a tool, a person decides: over two replicas and a worker, with an agent of the ACP."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.program import until


@pytest.fixture
def plane(cluster, acp_programs):
    cluster.env.update(acp_programs.environment("fake"))
    cluster.worker = cluster.add_worker("w1", "--capability", "fake", "--slots", "4")
    return cluster


def begin(cluster, prompt="x", *more):
    words = ["run", "--remote", "--detach", "-o", "name", "--agent", "fake", "--no-repo", "--wait-for-agent", *more]
    return cluster.ado(*words, prompt, check=0).stdout.decode().strip()


def questions(cluster):
    return json.loads(cluster.ado("inbox", "-o", "json", check=0).stdout)["items"]


def wait_for_questions(cluster, count=1):
    until(lambda: len(questions(cluster)) == count, f"{count} questions")
    return questions(cluster)


def decisions(cluster, task):
    """Return what the agent was allowed and denied, in order."""
    return [event["decision"] for event in cluster.events(task) if event.get("event") == "permission"]


def ended(cluster, task):
    until(lambda: cluster.task(task)["status"] in ("succeeded", "failed"), "the end of the task", 60)
    return cluster.task(task)["status"]


def test_a_person_allows_a_tool(plane):
    task = begin(plane)
    (question,) = wait_for_questions(plane)
    assert (question["kind"], question["tool"], question["input"]) == ("permission", "execute", {"command": "make"})
    shown = plane.ado("inbox", check=0).stdout.decode()
    assert f"ado approve {question['questionId']}, or ado deny {question['questionId']}" in shown
    done = plane.ado("approve", question["questionId"], check=0)
    assert b"is answered: allow" in done.stderr
    assert ended(plane, task) == "succeeded"
    assert decisions(plane, task) == ["allowed"]
    until(lambda: plane.sql("select count(*) from ado.questions where worker_waits") == [(0,)], "the acknowledgement")


def test_a_tool_that_a_person_denies_is_no_failure(plane):
    task = begin(plane, "edit notes.txt")
    (question,) = wait_for_questions(plane)
    refused = plane.ado("answer", question["questionId"], "perhaps", check=2)
    assert b"it must be one of allow, deny" in refused.stderr
    plane.ado("deny", question["questionId"], "--reason", "not today", check=0)
    assert b"was answered by" in plane.ado("approve", question["questionId"], check=1).stderr
    assert ended(plane, task) == "succeeded"
    assert decisions(plane, task) == ["denied"]
    log = plane.ado("logs", task, check=0).stderr.decode()
    assert "asks to use execute: edit notes.txt (next: ado approve question-1, or ado deny question-1)" in log
    assert "question-1 was answered by" in log


def test_an_answer_for_always_holds_for_other_jobs_and_later_attempts(plane):
    task = begin(plane, "x", "--workers", "2")
    first, _ = wait_for_questions(plane, 2)
    plane.ado("approve", first["questionId"], "--always", check=0)
    assert ended(plane, task) == "succeeded"
    assert decisions(plane, task) == ["allowed", "allowed"]
    other = begin(plane)
    (question,) = wait_for_questions(plane)
    assert question["taskId"] == other


def test_a_question_survives_the_kill_of_the_replica_that_took_it(plane):
    task = begin(plane)
    (question,) = wait_for_questions(plane)
    plane.replicas[0].kill()
    plane.replicas[0].wait()
    plane.ado("approve", question["questionId"], check=0)
    assert ended(plane, task) == "succeeded"
    types = [event["type"] for event in plane.events(task)]
    assert (types.count("question"), types.count("answer")) == (1, 1)


def test_the_next_attempt_asks_again_when_the_worker_dies_after_the_answer(plane):
    task = begin(plane)
    (first,) = wait_for_questions(plane)
    plane.worker.kill()
    plane.worker.wait()
    plane.add_worker("w2", "--capability", "fake")
    until(lambda: [item["attempt"] for item in questions(plane)] == [2], "the question of the next attempt", 60)
    assert b"question_closed" in plane.ado("approve", first["questionId"], "-o", "json", check=1).stderr
    plane.ado("approve", questions(plane)[0]["questionId"], check=0)
    assert ended(plane, task) == "succeeded"
    states = plane.sql("select state from ado.questions order by question_id")
    assert states == [("closed",), ("answered",)]


def test_a_cancelled_task_asks_no_longer(plane):
    task = begin(plane)
    (question,) = wait_for_questions(plane)
    plane.ado("cancel", task, check=0)
    until(lambda: plane.task(task)["status"] == "cancelled", "the end")
    until(lambda: questions(plane) == [], "an empty inbox")
    assert b"has ended" in plane.ado("approve", question["questionId"], check=1).stderr


def test_an_approval_of_the_task_decides_without_a_question(plane):
    for approve, decision in (("all", "allowed"), ("none", "denied")):
        task = begin(plane, "x", "--approve", approve)
        assert ended(plane, task) == "succeeded"
        assert decisions(plane, task) == [decision]
        assert f"approve {approve}" in plane.ado("tasks", "show", task, check=0).stdout.decode()
        assert plane.task(task)["approve"] == approve
    assert plane.sql("select count(*) from ado.questions") == [(0,)]
    begin(plane, "x", "--approve", "ask")
    assert wait_for_questions(plane)[0]["tool"] == "execute"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--remote", "--agent", "codex", "--approve", "ask"], b"codex asks nobody while it works"),
        (["--remote", "--agent", "shell", "--approve", "none"], b"shell runs commands, which ask for no permission"),
        (["--remote", "--agent", "fake", "--require", "approve:all"], b"approve:all is set by approve"),
        (["--remote", "--agent", "fake", "--approve", "some"], b"--approve"),
        (["--agent", "shell", "--approve", "all"], b"--approve needs --remote"),
    ],
)
def test_an_approval_that_an_agent_cannot_have_is_refused_at_once(cluster, words, said):
    wait = ["--wait-for-agent", "--no-repo"] if "--remote" in words else []
    done = cluster.ado("run", *words, *wait, "x", check=2)
    assert said in done.stderr, done.stderr
    assert cluster.sql("select count(*) from ado.tasks") == [(0,)]


def test_two_answers_at_once_are_one(plane):
    begin(plane)
    (question,) = wait_for_questions(plane)
    with ThreadPoolExecutor() as people:
        verbs = ("approve", "deny") * 2
        codes = list(people.map(lambda verb: plane.ado(verb, question["questionId"]).returncode, verbs))
    assert 0 in codes
    assert len(plane.sql("select 1 from ado.events where type = 'answer'")) == 1
