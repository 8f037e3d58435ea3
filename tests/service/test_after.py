"""``--after``: what the API refuses and repeats, and a chain of tasks from the command line to its end."""

import pytest
from support.procedures import Real


@pytest.fixture
def real(dsn):
    made = Real(dsn)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def ended(real):
    """Tasks that were cancelled, and one that was not."""
    for _ in range(2):
        real.call("tasks.create", prompt="x")
    real.call("tasks.cancel", taskId="task-1")
    return real


def test_a_task_says_after_which_it_starts(real):
    for _ in range(2):
        real.call("tasks.create", prompt="x")
    made = real.call("tasks.create", prompt="x", after=["task-2", "1", "task-1"], afterAnyEnd=True)
    assert (made.status, made.after, made.waits_for) == ("queued", ["task-1", "task-2"], ["task-1", "task-2"])
    assert made.after_any_end is True
    assert [(job.status, job.reason) for job in made.jobs] == [("paused", "waits_for_task")]
    wait = real.call("tasks.get", taskId=made.task_id, explain=True).wait
    assert (wait.reason, wait.why, wait.workers) == ("waits_for_task", "it starts when task-1, task-2 have ended", [])


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (["task-9"], "no_such_task"),
        (["task-2", "nonsense"], "no_such_task"),
        (["task-2", "task-1"], "predecessor_failed"),
        ([f"task-{number}" for number in range(1, 1002)], "invalid_input"),
    ],
)
def test_a_task_that_could_never_start_is_refused(ended, after, reason):
    assert ended.call("tasks.create", prompt="x", after=after) == reason
    assert ended.sql("select count(*) from ado.tasks")[0][0] == 2


def test_a_repeated_call_returns_its_task_whatever_became_of_those_before_it(real):
    real.call("tasks.create", prompt="x")
    wish = {"prompt": "x", "after": ["task-1"], "idempotencyKey": "k"}
    made = real.call("tasks.create", **wish)
    real.call("tasks.cancel", taskId="task-1")
    real.call("tasks.remove", taskId="task-1")
    again = real.call("tasks.create", **wish)
    assert (again.task_id, again.status, again.reason) == (made.task_id, "cancelled", "predecessor_failed")
    assert real.call("tasks.create", **{**wish, "after": []}) == "idempotency_conflict"


def test_a_retry_names_the_task_that_must_run_first(ended):
    made = ended.call("tasks.create", prompt="x", after=["task-2"])
    ended.call("tasks.cancel", taskId="task-2")
    assert ended.call("tasks.retry", taskId=made.task_id) == "predecessor_failed"
    ended.call("tasks.retry", taskId="task-2")
    assert ended.call("tasks.retry", taskId=made.task_id).waits_for == ["task-2"]


def test_a_chain_runs_in_its_order_and_ends_with_the_task_that_fails(cluster):
    wish = ("run", "--remote", "--agent", "shell", "--detach", "-o", "name")
    cluster.ado(*wish, "echo first", check=0)
    cluster.ado(*wish, "--after", "task-1", "exit 3", check=0)
    cluster.ado(*wish, "--after", "task-1,task-2", "--after-any-end", "echo any", check=0)
    listed = cluster.ado("tasks", check=0).stdout.decode()
    assert "queued after task-1, task-2" in listed
    assert cluster.ado("explain", "task-2", check=0).stdout == b"it starts when task-1 has succeeded\n"
    refused = cluster.ado("run", "--remote", "--agent", "shell", "--after-any-end", "x", check=2)
    assert b"--after task-3 --after-any-end" in refused.stderr
    cluster.ado(*wish, "--after", "task-2", "echo never", check=0)
    cluster.add_worker("w1")
    done = cluster.ado("attach", "task-4", check=1)
    assert b"task-4 was cancelled: task-2, after which it was to start, failed" in done.stderr
    assert cluster.ado("attach", "task-3", check=0).stdout == b"any\n"
    first, second, third = [cluster.task(f"task-{number}") for number in (1, 2, 3)]
    assert first["finishedAt"] <= second["startedAt"]
    assert second["finishedAt"] <= third["startedAt"]
