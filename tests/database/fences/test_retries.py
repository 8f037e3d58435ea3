"""Which jobs a retry queues, and when it queues none."""

import pytest
from support.fences import changes, raw
from support.records import closed, finish

from db import tasks

SUCCEEDED = "status = 'succeeded', worker_id = null, lease_expires_at = null, finished_at = now(), finished_seq = 1"
FAILED = SUCCEEDED.replace("succeeded", "failed")
CANCELLED = SUCCEEDED.replace("succeeded", "cancelled")
OF_ANNA = """
    with anna as (insert into ado.users (user_id, name, role, queued_limit) values (7, 'anna', 'developer', 2))
    update ado.jobs set user_id = 7 where task_id = 1"""


async def put(db, task_id, job, how):
    """Let a job be in a state, whatever its task is."""
    await raw(db, f"update ado.jobs set {how} where task_id = $1 and job = $2", task_id, job)


@pytest.fixture
async def ended(db):
    """In task 1, jobs 0 and 1 have failed and 2 has succeeded; the jobs of task 2 have failed."""
    for task_id, job, how in ((1, 0, FAILED), (1, 1, FAILED), (1, 2, SUCCEEDED), (2, 0, FAILED), (2, 1, FAILED)):
        await put(db, task_id, job, how)
    await raw(db, "update ado.tasks set status = 'failed', finished_at = now()")


async def retried(db, job=None):
    """Retry task 1; return the jobs that changed."""
    done, changed = await changes(db, tasks.retry(db, 1, job=job))
    assert {key[:2] for key in changed} - {("task", "1")} == ({("job", "1"), ("log", "1")} if done else set())
    return sorted(key[2] for key in changed if key[0] == "job")


async def test_one_job_is_retried_alone(db, ended):
    assert await retried(db, 1) == [1]
    assert await retried(db, 2) == []


async def test_a_job_that_succeeded_is_left_though_one_of_its_number_failed_elsewhere(db, ended):
    await put(db, 1, 0, SUCCEEDED)
    assert await retried(db) == [1]


@pytest.mark.parametrize(("limit", "job", "jobs"), [(2, None, [0, 1]), (1, None, []), (1, 0, [0]), (0, 0, [])])
async def test_the_users_queue_must_have_room_for_the_jobs_that_are_retried(db, ended, limit, job, jobs):
    await raw(db, OF_ANNA)
    await raw(db, "update ado.users set queued_limit = $1", limit)
    assert await retried(db, job) == jobs


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ("select 1", []),
        ("update ado.tasks set on_failure = 'continue' where task_id = 1", [0]),
        (f"update ado.jobs set {CANCELLED} where task_id = 1 and job = 1", [0]),
        (f"update ado.jobs set {SUCCEEDED} where task_id = 1 and job = 1", [0]),
    ],
)
async def test_one_job_is_not_retried_beside_a_failure_that_would_stop_it(db, ended, change, jobs):
    await raw(db, "update ado.tasks set on_failure = 'fail_fast'")
    await raw(db, change)
    assert await retried(db, 0) == jobs


async def test_all_jobs_are_retried_after_failures_that_stop_siblings(db, ended):
    await raw(db, "update ado.tasks set on_failure = 'fail_fast'")
    assert await retried(db) == [0, 1]


async def test_the_log_of_older_tasks_may_be_pruned(db, ended):
    await raw(db, "insert into ado.log_ranges (from_task_id, to_task_id, pruned_at) values (-1000, 0, now())")
    assert await retried(db) == [0, 1]


async def test_a_task_whose_predecessor_has_not_succeeded_is_not_retried(db, ended):
    await raw(
        db, "insert into ado.dependencies (task_id, after_task_id, any_end, outcome) values (1, 2, false, 'failed')"
    )
    assert await retried(db) == []


async def test_a_running_task_is_retried_unless_its_cancel_is_under_way(db):
    await closed(db, finish(1, "failed"))
    assert await retried(db) == [0]
    await put(db, 1, 0, FAILED)
    await raw(db, "update ado.tasks set cancel_requested_at = now() where task_id = 1")
    assert await retried(db) == []


STOPPED = "stop_reason = 'sibling_failed', stop_requested_at = now()"


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        (f"update ado.jobs set {STOPPED} where task_id = 1 and job = 1", []),
        ("update ado.jobs set stop_reason = 'timed_out', stop_requested_at = now() where task_id = 1 and job = 1", [0]),
        (f"update ado.jobs set {STOPPED}, {FAILED} where task_id = 1 and job = 1", [0, 1]),
        (f"update ado.jobs set {STOPPED} where task_id = 2 and job = 0", [0]),
    ],
)
async def test_a_failed_job_is_not_retried_while_its_siblings_are_being_stopped(db, change, jobs):
    await put(db, 1, 0, FAILED)
    await raw(db, change)
    assert await retried(db) == jobs
