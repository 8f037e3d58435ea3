"""Several answers to one question: the jobs of a task have different agents, and a person picks one of the results."""

import asyncio
import hashlib
import json
from itertools import pairwise

import pytest
from support.procedures import Real

from db.tasks import TaskFilter, page, pick

AGENTS = ["claude-code", "codex"]


@pytest.fixture
def real(dsn):
    made = Real(dsn)
    yield made
    made.close()


def create(real, agents=AGENTS, workers=3, **values):
    return real.call("tasks.create", prompt="add a test", agents=agents, workers=workers, **values)


def worker(real, name, *capabilities):
    return real.call("workers.register", workerId=name, capabilities=list(capabilities), instance=name).session


def claim(real, name, session, limit=1):
    return real.call("workers.claim", workerId=name, session=session, limit=limit).jobs


def log(real, task_id=1):
    rows = real.sql("select type, job, body::text from ado.events where task_id = $1 order by seq", task_id)
    return [(row["type"], row["job"], json.loads(row["body"] or "{}")) for row in rows]


def end(real, job, outcome="succeeded", *, result=True, worker_id="w", **report):
    """Finish an attempt, with a result if one is wanted."""
    fence = {"workerId": worker_id, "jobId": job.job_id, "attempt": job.attempt}
    if result:
        name = f"file-{hashlib.md5(job.job_id.encode()).hexdigest()}"
        real.call("files.begin", fileId=name, kind="result", size=0, sha256=hashlib.sha256().hexdigest(), **fence)
        real.call("files.commit", fileId=name)
    return real.call("workers.finish", outcome=outcome, **fence, **report)


def ended(real, *outcomes, result=True):
    """Create a task whose jobs have ended."""
    create(real, ["shell"], len(outcomes))
    session = worker(real, "w", "shell")
    for outcome in outcomes:
        (job,) = claim(real, "w", session)
        end(real, job, outcome, result=result)


def test_the_jobs_of_a_task_get_its_agents_in_turn(real):
    task = create(real)
    assert [job.agent for job in task.jobs] == ["claude-code", "codex", "claude-code"]
    stored = real.call("tasks.get", taskId=task.task_id)
    assert [job.agent for job in stored.jobs] == ["claude-code", "codex", "claude-code"]
    assert (stored.agent, stored.agents) == ("claude-code", AGENTS)
    assert log(real)[0][2]["agents"] == AGENTS
    seen = real.sql("select job, agent, needs from ado.job_status order by job")
    assert [tuple(row) for row in seen] == [(job.job, job.agent, [job.agent]) for job in stored.jobs]


def test_a_worker_gets_only_the_jobs_whose_agent_it_offers_and_is_told_that_agent(real):
    create(real, requires=["gpu"])
    first, second = worker(real, "w1", "codex", "gpu"), worker(real, "w2", "claude-code", "gpu")
    assert [(job.job, job.agent) for job in claim(real, "w1", first, 5)] == [(1, "codex")]
    assert [(job.job, job.agent) for job in claim(real, "w2", second)] == [(0, "claude-code")]


def test_one_agent_for_all_jobs_is_stored_as_before(real):
    named_twice = create(real, ["shell", "shell"])
    assert [job.agent for job in named_twice.jobs] == ["shell"] * 3
    assert not named_twice.agents
    key = {"idempotencyKey": "k", "workers": 2, "prompt": "x"}
    assert real.call("tasks.create", agents=["shell"], **key).task_id == real.call("tasks.create", **key).task_id


@pytest.mark.parametrize(
    "members",
    [
        {"agents": ["a", "b"], "workers": 1},
        {"agents": ["a", "a"], "workers": 1},
        {"agents": ["a", "b"], "workers": 2, "agent": "b"},
        {"agents": ["a", ""], "workers": 2},
        {"agents": ["a", "b\x00"], "workers": 2},
        {"agents": ["claude-code", "codex"], "workers": 2, "budget": {"costUsd": 1}},
        {"agents": ["claude-code", "codex"], "workers": 2, "approve": "ask"},
        {"agents": ["claude-code", "shell"], "workers": 2, "approve": "edits"},
    ],
)
def test_agents_that_some_job_cannot_have_are_refused(real, members):
    assert real.call("tasks.create", prompt="x", **members) == "invalid_input"
    assert real.sql("select count(*) from ado.tasks")[0][0] == 0


def test_the_order_of_agents_belongs_to_what_an_idempotency_key_stands_for(real):
    assert create(real, idempotencyKey="k").task_id == create(real, idempotencyKey="k").task_id
    assert create(real, AGENTS[::-1], idempotencyKey="k") == "idempotency_conflict"


def test_a_list_finds_a_task_by_any_of_its_agents(real):
    create(real)
    create(real, ["shell"])
    for agent, found in (("codex", [1]), ("claude-code", [1]), ("shell", [2]), ("x", [])):
        tasks, _ = real.run(page(real.db, TaskFilter(agents=[agent]), limit=10, bytes_=1 << 20, before=None))
        assert [task.task_id for task in tasks] == found
        assert all(task.jobs[1].agent == (task.agents or ["shell"] * 2)[1] for task in tasks)


def test_what_an_agent_used_is_counted_for_the_agent_of_the_job(real):
    create(real, workers=2)
    (job,) = claim(real, "w", worker(real, "w", "codex"))
    end(real, job, result=False, usage={"inputTokens": 5})
    assert [tuple(row) for row in real.sql("select agent, input_tokens from ado.attempt_usage")] == [("codex", 5)]
    assert real.sql("select agent from ado.metric_notes where measure = 'tokens'")[0]["agent"] == "codex"


def test_why_a_task_waits_names_the_agent_of_the_job_that_waits(real):
    create(real, workers=2)
    claim(real, "w", worker(real, "w", "claude-code"))
    wait = real.call("tasks.get", taskId="task-1", explain=True).wait
    assert (wait.reason, "offers codex" in wait.why) == ("capability", True)


def test_a_message_reaches_the_jobs_whose_agents_take_any(real):
    create(real, ["shell", "codex"], 4)
    assert [job.job for job in real.call("tasks.send", taskId="task-1", text="faster").jobs] == [1, 3]
    assert real.call("tasks.send", taskId="task-1", text="faster", job=2) == "takes_no_messages"
    assert real.call("tasks.send", taskId="task-1", text="faster", job=3).job == 3


def test_a_pick_is_kept_on_the_task_and_in_its_log(real):
    ended(real, "succeeded", "succeeded")
    assert real.call("tasks.pick", taskId="task-1", job=1).picked_job == 1
    assert real.call("tasks.list").items[0].picked_job == 1
    assert log(real)[-1][:2] == ("picked", 1)
    assert real.sql("select picked_job from ado.task_status")[0]["picked_job"] == 1
    seq = real.call("tasks.get", taskId="task-1").last_seq
    assert len(log(real)) == seq


def test_picking_the_same_again_adds_nothing_and_another_one_replaces_it(real):
    ended(real, "succeeded", "failed")
    real.call("tasks.pick", taskId="task-1", job=0)
    before = log(real)
    assert real.call("tasks.pick", taskId="task-1", job=0).picked_job == 0
    assert log(real) == before
    assert real.call("tasks.pick", taskId="task-1", job=1).picked_job == 1
    assert [job for kind, job, _ in log(real) if kind == "picked"] == [0, 1]


def test_picks_at_the_same_time_are_written_one_after_another(real):
    ended(real, "succeeded", "succeeded")
    calls = [pick(real.db, 1, job) for job in (0, 1, 0, 1, 0, 1)]
    changed = real.run(_together(calls))
    picks = [job for kind, job, _ in log(real) if kind == "picked"]
    assert len(picks) == sum(changed)
    assert all(before != after for before, after in pairwise(picks))
    task = real.call("tasks.get", taskId="task-1")
    assert (task.picked_job, task.last_seq) == (picks[-1], len(log(real)))


async def _together(calls):
    return await asyncio.gather(*calls)


def test_a_job_without_a_result_and_one_that_runs_are_not_picked(real):
    create(real, ["shell"], 2)
    session = worker(real, "w", "shell")
    (job,) = claim(real, "w", session)
    assert real.call("tasks.pick", taskId="task-1", job=0) == "nothing_to_pick"
    assert real.call("tasks.pick", taskId="task-1", job=1) == "nothing_to_pick"
    end(real, job, result=False)
    assert real.call("tasks.pick", taskId="task-1", job=0) == "nothing_to_pick"
    assert real.call("tasks.pick", taskId="task-1", job=2) == "no_such_job"
    assert real.call("tasks.pick", taskId="task-9", job=0) == "no_such_task"
    assert "picked" not in {kind for kind, _, _ in log(real)}


def test_a_job_that_was_retried_and_runs_with_an_older_result_is_not_picked(real):
    ended(real, "failed")
    real.call("tasks.retry", taskId="task-1")
    assert real.call("tasks.pick", taskId="task-1", job=0) == "nothing_to_pick"


def test_a_task_whose_log_is_dropped_takes_no_pick(real):
    ended(real, "succeeded")
    real.sql("update ado.log_ranges set pruned_at = now() where from_task_id <= 1 and to_task_id > 1")
    assert real.call("tasks.pick", taskId="task-1", job=0) == "log_pruned"
