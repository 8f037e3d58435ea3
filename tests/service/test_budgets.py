"""Budgets of jobs, through two replicas and a worker: what stops an agent, what a person may decide, what counts.

The agent speaks the Agent Client Protocol and is offered as ``opencode``. The programs of ``tests/agents`` are real.
"""

import json
import re
import subprocess

import pytest
from support.postgres import fast_directory, remove
from support.procedures import Real
from support.program import Cluster, until

AGENTS = ("opencode", "gemini-cli")  # the second may have a limit on tokens


@pytest.fixture(scope="module")
def cluster(shared_dsn, acp_programs):
    home = fast_directory()
    made = Cluster(shared_dsn, home)
    try:
        made.add_replicas(2)
        offers = [word for name in (*AGENTS, "scripted") for word in ("--capability", name)]
        made.env.update(acp_programs.environment(*AGENTS), ADO_ISOLATED="true")
        made.add_worker("main", "--slots", "4", *offers)
        yield made
    finally:
        made.close()
        remove(home)


def begin(cluster, prompt, *more, agent="opencode"):
    words = ["run", "--remote", "--detach", "-o", "name", "--no-repo", "--wait-for-agent"]
    words += ["--agent", agent, *more, prompt]
    return cluster.ado(*words, check=0).stdout.decode().strip()


def ended(cluster, task):
    """Return the only job of a task once it has ended."""
    until(lambda: cluster.task(task)["status"] in ("succeeded", "failed", "cancelled"), f"{task} to end")
    return cluster.task(task)["jobs"][0]


def events(cluster, task, kind):
    rows = cluster.sql(
        "select body from ado.events where task_id = %s and type = %s order by seq",
        int(task.removeprefix("task-")), kind,
    )  # fmt: skip
    return [body for (body,) in rows]


def question(cluster, task):
    """Return the open question of a task once there is one."""

    def asked():
        listed = json.loads(cluster.ado("inbox", "-o", "json").stdout)
        return [item for item in listed["items"] if item.get("taskId") == task]

    return until(asked, "the question")[0]


def tools(cluster, task):
    return [event["title"] for event in events(cluster, task, "agent") if event["event"] == "tool_end"]


def test_an_agent_is_stopped_after_its_tool_at_the_limit_and_the_job_fails_with_what_it_used(cluster):
    task = begin(cluster, "spend 2 of 9", "--max-cost", "0.5", "--on-budget", "fail", "--retries", "2")
    job = ended(cluster, task)
    assert (job["status"], job["reason"], job["attempt"]) == ("failed", "budget_exceeded", 1)
    assert job["message"] == "the job has used 0.5 of 0.5 US dollars; run it again with a larger --max-cost"
    assert len(tools(cluster, task)) == 2
    assert job["usage"] == {"costUsd": 0.5, "turns": 1}
    assert events(cluster, task, "budget") == [
        {"limit": {"costUsd": 0.5}, "spent": {"costUsd": 0.5, "tokens": 0, "turns": 1}}
    ]
    shown = cluster.ado("attach", task, check=1)
    assert b"ado: [0] a limit of the budget is reached: 0.5 of 0.5 costUsd" in shown.stderr
    assert b"budget of each job: 0.5 US dollars" in cluster.ado("tasks", "show", task, check=0).stdout


def test_a_limit_that_is_reached_at_the_end_of_a_turn_leaves_that_turn_as_it_is(cluster):
    task = begin(cluster, "spend 1", "--max-tokens", "50", "--on-budget", "fail", agent="gemini-cli")
    job = ended(cluster, task)
    assert (job["status"], job["usage"]["inputTokens"] >= 50) == ("succeeded", True)
    assert events(cluster, task, "budget") == []


def test_a_person_raises_the_limit_and_the_session_goes_on(cluster):
    task = begin(cluster, "spend 2 of 9", "--max-cost", "0.5")
    asked = question(cluster, task)
    assert asked["kind"] == "budget"
    assert asked["text"] == "The job has used 0.5 of 0.5 US dollars. May it use another 0.5 US dollars?"
    cluster.ado("answer", asked["questionId"], "raise", check=0)
    job = ended(cluster, task)
    assert (job["status"], job["attempt"], job["usage"]["costUsd"]) == ("succeeded", 1, 0.75)
    assert len({event["sessionId"] for event in events(cluster, task, "agent") if event["event"] == "session"}) == 1


def test_a_person_who_stops_the_job_is_named(cluster):
    task = begin(cluster, "spend 1 of 9", "--max-cost", "0.25")
    cluster.ado("answer", question(cluster, task)["questionId"], "stop", check=0)
    job = ended(cluster, task)
    assert job["reason"] == "budget_exceeded"
    assert re.search("; .+ stopped it; ", job["message"])


def test_a_job_that_asks_about_its_budget_can_be_cancelled(cluster):
    task = begin(cluster, "spend 1 of 9", "--max-cost", "0.25")
    question(cluster, task)
    cluster.ado("cancel", task, check=0)
    assert ended(cluster, task)["status"] == "cancelled"


def test_a_question_that_waits_for_long_pauses_the_job_until_the_limit_is_raised(cluster, tmp_path):
    named = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for words in (["init", "-q"], [*named, "commit", "-q", "--allow-empty", "-m", "Begin"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    env = {"ADO_QUESTION_HOLD_SECONDS": "0.5"}
    cluster.add_worker("holds", "--capability", "opencode", "--capability", "here", env=env)
    words = ["run", "--remote", "--detach", "-o", "name", "--repo", "--agent", "opencode", "--require", "here"]
    task = cluster.ado(*words, "--max-cost", "0.25", "spend 1 of 9", check=0, cwd=tmp_path).stdout.decode().strip()
    until(lambda: cluster.task(task)["status"] == "paused", "the job to be paused")
    cluster.ado("answer", question(cluster, task)["questionId"], "raise", check=0)
    job = ended(cluster, task)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert len({event["sessionId"] for event in events(cluster, task, "agent") if event["event"] == "session"}) == 1
    assert len(events(cluster, task, "question")) == 1
    cluster.ado("workers", "drain", "holds", check=0)


def test_all_attempts_of_a_job_share_its_budget(cluster):
    task = begin(cluster, "spend 2 of 9", "--max-cost", "0.5", "--on-budget", "fail")
    ended(cluster, task)
    cluster.ado("retry", task, check=0)
    job = ended(cluster, task)
    assert (job["attempt"], job["reason"]) == (2, "budget_exceeded")
    assert len(tools(cluster, task)) == 2  # the second attempt did nothing


def test_no_turn_begins_beyond_their_number(cluster):
    script = json.dumps({"say": "worked"})
    more = ("--check", "exit 1", "--check-tries", "5", "--max-turns", "2", "--on-budget", "fail")
    task = begin(cluster, script, *more, agent="scripted")
    job = ended(cluster, task)
    assert (job["reason"], job["usage"]) == ("budget_exceeded", {"turns": 2})
    assert len(events(cluster, task, "check")) == 2


def test_a_message_is_another_turn_for_an_agent_that_takes_several_in_one_process(cluster, tmp_path):
    gate = tmp_path / "gate"
    task = begin(cluster, f"until {gate}", "--max-turns", "1", "--on-budget", "fail")
    until(lambda: events(cluster, task, "agent"), "the agent to begin")
    cluster.ado("send", task, "and more", check=0)
    gate.touch()
    job = ended(cluster, task)
    assert (job["reason"], job["usage"]["turns"]) == ("budget_exceeded", 1)
    assert events(cluster, task, "delivered") == []
    assert len([event for event in events(cluster, task, "agent") if event["event"] == "result"]) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--max-cost", "0"), "--max-cost 0.0: it must be above 0 and at most 10^15"),
        (("--max-cost", "nan"), "--max-cost nan: it must be above 0 and at most 10^15"),
        (("--max-cost", "inf"), "--max-cost inf: it must be above 0 and at most 10^15"),
        (("--max-tokens=-5",), "--max-tokens -5: it must be above 0 and at most 10^15"),
        (("--max-turns", "0"), "--max-turns 0: it must be above 0 and at most 10^15"),
        (("--max-cost", "1e300"), "at most 10^15"),
        (("--max-tokens", "9" * 30), "at most 10^15"),
        (("--on-budget", "fail"), "--on-budget needs a limit"),
        (("--max-turns", "many"), "--max-turns"),
        (("--max-cost", "1e12"), "costUsd"),
    ],
)
def test_a_limit_that_is_no_amount_is_refused_in_words(cluster, words, says):
    done = cluster.ado("run", "--remote", "--no-repo", "--detach", "--agent", "opencode", *words, "p", check=2)
    assert says in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_without_a_server_a_budget_is_refused(cluster):
    done = cluster.ado("run", "--agent", "shell", "--max-turns", "2", "true", check=2)
    assert b"--max-turns needs --remote" in done.stderr


@pytest.fixture
def real(dsn):
    made = Real(dsn)
    yield made
    made.close()


def test_a_claim_brings_what_was_spent_and_decided_before(real):
    real.call("tasks.create", prompt="p", agent="codex", budget={"tokens": 100}, retries=9)
    offers = ["codex", "budget:limits"]
    session = real.call("workers.register", workerId="w1", capabilities=offers, instance="i").session
    fence = {"workerId": "w1", "jobId": "task-1/0"}

    def claim():
        (job,) = real.call("workers.claim", workerId="w1", session=session).jobs
        return job

    first = claim()
    assert (first.budget.tokens, first.budget.on_budget) == (100, "ask")
    assert (first.spent.tokens, first.spent.raised.tokens, first.spent.stopped) == (0, 0, False)
    asked = real.call("workers.ask", **fence, attempt=1, key="budget:tokens:0", kind="budget", text="?",
                      options=[{"id": "raise", "label": "r"}, {"id": "stop", "label": "s"}])  # fmt: skip
    real.call("questions.answer", questionId=asked.question_id, choice="raise")
    usage = {"inputTokens": 100, "outputTokens": 20, "cacheReadTokens": 9999, "cacheWriteTokens": 5, "turns": 2}
    real.call("workers.finish", **fence, attempt=1, outcome="failed", reason="agent_error", usage=usage)
    second = claim()
    assert (second.spent.tokens, second.spent.turns, second.spent.raised.tokens) == (125, 2, 1)
    asked = real.call("workers.ask", **fence, attempt=2, key="budget:tokens:1", kind="budget", text="?",
                      options=[{"id": "raise", "label": "r"}, {"id": "stop", "label": "s"}])  # fmt: skip
    real.call("questions.answer", questionId=asked.question_id, choice="stop")
    lies = {"inputTokens": -1000, "outputTokens": 5}
    real.call("workers.finish", **fence, attempt=2, outcome="failed", reason="agent_error", usage=lies)
    third = claim()
    assert (third.spent.tokens, third.spent.raised.tokens, third.spent.stopped) == (130, 1, True)


def test_only_a_worker_that_keeps_budgets_gets_a_job_with_one(real):
    real.call("tasks.create", prompt="p", agent="codex", budget={"tokens": 100})
    old = real.call("workers.register", workerId="old", capabilities=["codex"], instance="i").session
    assert real.call("workers.claim", workerId="old", session=old).jobs == []


def test_a_spent_budget_is_not_tried_again(real):
    real.call("tasks.create", prompt="p", agent="codex", budget={"tokens": 100}, retries=9)
    session = real.call(
        "workers.register", workerId="w1", capabilities=["codex", "budget:limits"], instance="i"
    ).session
    real.call("workers.claim", workerId="w1", session=session)
    real.call("tasks.send", taskId="task-1", text="more")
    job = real.call(
        "workers.finish", workerId="w1", jobId="task-1/0", attempt=1, outcome="failed", reason="budget_exceeded"
    )
    assert (job.status, job.reason) == ("failed", "budget_exceeded")
