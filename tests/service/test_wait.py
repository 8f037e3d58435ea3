"""``ado wait``: for all tasks, or for the first one that ends."""

import json

import pytest
from support.program import until


@pytest.fixture
def tasks(shared_cluster):
    """Two tasks that nobody runs yet; a test ends them by cancelling."""
    made = [shared_cluster.create_task() for _ in range(2)]
    yield made
    shared_cluster.ado("cancel", *made)


def ended(output):
    return [json.loads(line)["taskId"] for line in output.splitlines()]


def test_wait_for_any_ends_with_the_first_end(shared_cluster, tasks):
    first, second = tasks
    waiting = shared_cluster.open("wait", first, second, "--any", "-o", "jsonl")
    shared_cluster.ado("cancel", second, check=0)
    output, _ = waiting.communicate(timeout=60)
    assert ended(output) == [second]
    assert waiting.returncode == 1
    assert shared_cluster.task(first)["status"] == "queued"


def test_wait_for_any_shows_what_has_ended_already(shared_cluster, tasks):
    shared_cluster.ado("cancel", *tasks, check=0)
    done = shared_cluster.ado("wait", *tasks, "--any", "-o", "jsonl")
    assert set(ended(done.stdout)) <= set(tasks)
    assert ended(done.stdout)


def test_wait_without_any_waits_for_all(shared_cluster, tasks):
    waiting = shared_cluster.open("wait", *tasks, "-o", "jsonl")
    shared_cluster.ado("cancel", tasks[1], check=0)
    until(lambda: shared_cluster.task(tasks[1])["status"] == "cancelled", "the first end")
    shared_cluster.ado("cancel", tasks[0], check=0)
    output, _ = waiting.communicate(timeout=60)
    assert ended(output) == tasks


def test_an_unknown_task_ends_the_wait_for_any(shared_cluster, tasks):
    done = shared_cluster.ado("wait", tasks[0], "task-999999", "--any")
    assert done.returncode not in (0, 124)
    assert b"there is no task" in done.stderr
