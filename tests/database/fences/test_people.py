"""What people do to a task changes that task and its jobs, and nothing of another one."""

import pytest
from support.fences import answer, ask, changes, log, raw
from support.records import closed, finish

from db import questions, tasks
from db.actor import Actor

ANNA = Actor("tasks.change", "user-1", None, name="anna")
ALL = {("job", "1", 0), ("job", "1", 1), ("job", "1", 2)}


async def end(db, task_id, job, outcome, worker_id):
    await closed(db, finish(task_id, outcome, job=job, worker_id=worker_id))
    await tasks.settle(db, task_id)


async def audited(db):
    return [row["target"] for row in await raw(db, "select target from ado.audit")]


async def test_a_pause_marks_the_running_jobs_of_its_task(db):
    _, changed = await changes(db, tasks.pause(db, 1, None, ANNA))
    assert changed == ALL | {("log", "1")}
    assert (await log(db, 1))[-1] == ("paused", None)
    assert await audited(db) == ["task-1"]


async def test_a_pause_leaves_alone_jobs_that_have_ended_or_are_being_stopped(db):
    await closed(db, finish(1))
    await raw(
        db, "update ado.jobs set stop_reason = 'timed_out', stop_requested_at = now() where task_id = 1 and job = 1"
    )
    _, changed = await changes(db, tasks.pause(db, 1, None))
    assert changed == {("job", "1", 2), ("log", "1")}
    _, changed = await changes(db, tasks.pause(db, 1, None))
    assert changed == set()


async def test_a_task_of_queued_jobs_is_paused_at_once_and_a_running_or_ended_one_is_not(db):
    await end(db, 2, 0, "succeeded", "w2")
    _, changed = await changes(db, tasks.pause(db, 2, None))
    assert changed == {("job", "2", 1), ("log", "2"), ("task", "2")}
    await raw(db, "update ado.tasks set status = 'failed', finished_at = now() where task_id = 2")
    await raw(db, "update ado.jobs set pause_requested_at = null where task_id = 2")
    await tasks.pause(db, 2, None)
    assert [row["status"] for row in await raw(db, "select status from ado.tasks where task_id = 2")] == ["failed"]


async def test_a_resume_changes_the_paused_jobs_of_its_task(db):
    await tasks.pause(db, 1, None)
    await tasks.pause(db, 2, None)
    await closed(db, finish(1, job=1))
    resumed, changed = await changes(db, tasks.resume(db, 1, ANNA))
    assert resumed
    assert changed == {("job", "1", 0), ("job", "1", 2), ("log", "1")}
    assert await audited(db) == ["task-1"]
    assert await changes(db, tasks.resume(db, 1)) == (False, set())


async def test_a_resume_leaves_another_task_paused(db):
    await end(db, 2, 0, "succeeded", "w2")
    await tasks.pause(db, 2, None)
    await tasks.pause(db, 1, None)
    _, changed = await changes(db, tasks.resume(db, 1))
    assert changed == ALL | {("log", "1")}


async def test_only_a_task_with_jobs_to_start_gets_a_new_time_to_start_in(db):
    async def times():
        rows = await raw(db, "select status, start_by is not null as has_time from ado.tasks order by task_id")
        return [tuple(row) for row in rows]

    await end(db, 2, 0, "succeeded", "w2")
    await raw(db, "update ado.tasks set start_within_seconds = 60")
    for task_id in (1, 2):  # only jobs that run, and only one that is queued
        await tasks.pause(db, task_id, None)
        await tasks.resume(db, task_id)
    assert await times() == [("running", False), ("running", True)]
    await tasks.pause(db, 2, None)
    await raw(db, "update ado.jobs set reason = 'waits_for_task' where task_id = 2 and job = 1")
    await tasks.resume(db, 2)
    assert await times() == [("running", False), ("running", False)]


async def resume_alone(db):
    """Resume without the step after it, which queues the jobs whose questions are answered."""
    await db.optional("resume_task", task_id=1, actor=None)


async def test_a_resume_leaves_jobs_that_wait_for_a_task_or_for_a_given_answer(db):
    asked = await ask(db, 1, 0)
    await raw(db, "update ado.jobs set status = 'paused', lease_expires_at = null, pause_requested_at = now(),"
                  " reason = case job when 0 then 'question' when 1 then 'waits_for_task' else 'paused' end"
                  " where task_id = 1")  # fmt: skip
    await raw(db, "update ado.jobs set pause_requested_at = null where task_id = 1 and job = 1")
    await answer(db, asked)
    await resume_alone(db)
    rows = await raw(db, "select status from ado.jobs where task_id = 1 order by job")
    assert [row["status"] for row in rows] == ["paused", "paused", "queued"]
    await raw(db, "update ado.jobs set pause_requested_at = now() where task_id = 1 and job = 1")
    await resume_alone(db)
    rows = await raw(db, "select status, pause_requested_at from ado.jobs where task_id = 1 and job = 1")
    assert tuple(rows[0]) == ("paused", None)


async def test_a_job_with_an_open_question_of_its_attempt_is_resumed(db):
    await ask(db, 1, 0)
    await ask(db, 1, 2)
    await raw(
        db, "update ado.jobs set status = 'paused', lease_expires_at = null, reason = 'question' where task_id = 1"
    )
    await raw(db, "update ado.questions set attempt = 2 where job = 2")
    await ask(db, 2)
    await raw(db, "update ado.questions set job = 1 where task_id = 2")
    await resume_alone(db)
    rows = await raw(db, "select status from ado.jobs where task_id = 1 order by job")
    assert [row["status"] for row in rows] == ["queued", "paused", "paused"]


async def test_a_cancel_ends_or_marks_the_jobs_of_its_task(db):
    _, changed = await changes(db, tasks.cancel(db, 2, "enough", ANNA))
    assert changed == {("job", "2", 0), ("job", "2", 1), ("log", "2"), ("task", "2")}
    assert (await log(db, 2))[-2:] == [("cancel_requested", None), ("finished", 1)]
    assert await audited(db) == ["task-2"]
    _, changed = await changes(db, tasks.cancel(db, 2, "again"))
    assert changed == set()


async def test_a_cancel_marks_a_running_job_and_ends_a_queued_one(db):
    await tasks.cancel(db, 2, None)
    rows = await raw(db, "select status, stop_reason from ado.jobs where task_id = 2 order by job")
    assert [tuple(row) for row in rows] == [("running", "cancelled"), ("cancelled", None)]


async def test_a_task_that_has_ended_is_not_cancelled(db):
    await raw(db, "update ado.tasks set status = 'failed', finished_at = now() where task_id = 2")
    assert (await changes(db, tasks.cancel(db, 2, None)))[1] == set()


async def test_a_cancel_leaves_jobs_that_have_ended(db):
    await closed(db, finish(1))
    _, changed = await changes(db, tasks.cancel(db, 1, None))
    assert changed == {("job", "1", 1), ("job", "1", 2), ("log", "1"), ("task", "1")}
    await closed(db, finish(2, worker_id="w2"))
    _, changed = await changes(db, tasks.cancel(db, 2, None))
    assert changed == {("job", "2", 1), ("log", "2"), ("task", "2")}


@pytest.fixture
async def failed(db):
    """Jobs 0 and 1 of task 1 and the running job of task 2 have failed; job 2 of task 1 has succeeded."""
    for task_id, job, outcome, worker_id in (
        (1, 0, "failed", "w1"),
        (1, 1, "failed", "w1"),
        (1, 2, "succeeded", "w2"),
        (2, 0, "failed", "w2"),
    ):
        await end(db, task_id, job, outcome, worker_id)


async def test_a_retry_queues_the_failed_jobs_of_its_task(db, failed):
    retried, changed = await changes(db, tasks.retry(db, 1, actor=ANNA))
    assert retried
    assert changed == {("job", "1", 0), ("job", "1", 1), ("log", "1"), ("task", "1")}
    assert (await log(db, 1))[-1] == ("retried", None)
    assert await audited(db) == ["task-1"]


NO_RETRY = {
    "its log is pruned": "update ado.log_ranges set pruned_at = now() where from_task_id <= 1 and 1 < to_task_id",
    "its environment is forgotten": """
        insert into ado.task_environments (task_id, environment, forgotten_at) values (1, '{}', now())""",
    "it had input": "update ado.tasks set requires = array['input:stdin'] where task_id = 1",
}
RETRY = {
    "another log is pruned": """
        update ado.log_ranges set pruned_at = now() where not (from_task_id <= 1 and 1 < to_task_id)""",
    "its environment is there": "insert into ado.task_environments (task_id, environment) values (1, '{}')",
    "the environment of another task is forgotten": """
        insert into ado.task_environments (task_id, environment, forgotten_at) values (2, '{}', now())""",
    "another task had input": "update ado.tasks set requires = array['input:stdin'] where task_id = 2",
}


@pytest.mark.parametrize("name", [*NO_RETRY, *RETRY])
async def test_a_task_is_retried_if_it_can_run_again(db, failed, name):
    await raw(db, (NO_RETRY | RETRY)[name])
    assert await tasks.retry(db, 1) is (name in RETRY)


async def test_an_update_changes_its_task_in_the_version_that_was_seen(db):
    updated, changed = await changes(db, tasks.update(db, 2, 1, 7, None, ANNA))
    assert updated
    assert changed == {("job", "2", 0), ("job", "2", 1), ("task", "2")}
    assert await audited(db) == ["task-2"]
    assert await changes(db, tasks.update(db, 2, 1, 8, None)) == (False, set())
    for version, priority, labels in ((2, None, {"a": "b"}), (3, 7, None)):  # no job is written in vain
        _, changed = await changes(db, tasks.update(db, 2, version, priority, labels))
        assert changed == {("task", "2")}


async def store_result(db, **values):
    row = {"task_id": 1, "job": 0, "kind": "result", "completed_at": True} | values
    await raw(
        db,
        "insert into ado.files (file_id, kind, task_id, job, attempt, worker_id, size, sha256, completed_at)"
        " values ('f', $1, $2, $3, 1, 'w1', 0, sha256(''), case when $4 then now() end)",
        row["kind"],
        row["task_id"],
        row["job"],
        row["completed_at"],
    )


async def test_a_pick_names_an_ended_job_with_a_result_once(db, failed):
    await store_result(db)
    picked, changed = await changes(db, tasks.pick(db, 1, 0, ANNA))
    assert picked
    assert changed == {("task", "1"), ("log", "1")}
    assert (await log(db, 1))[-1] == ("picked", 0)
    assert await changes(db, tasks.pick(db, 1, 0)) == (False, set())


async def test_a_job_is_picked_beside_the_pruned_logs_of_older_tasks(db, failed):
    await store_result(db)
    await raw(db, "insert into ado.log_ranges (from_task_id, to_task_id, pruned_at) values (-1000, 0, now())")
    assert await tasks.pick(db, 1, 0)


@pytest.mark.parametrize("other", [{"task_id": 2}, {"job": 1}, {"kind": "checkpoint"}, {"completed_at": False}])
async def test_a_job_without_a_result_is_not_picked(db, failed, other):
    await store_result(db, **other)
    assert not await tasks.pick(db, 1, 0)


async def test_a_running_job_or_one_whose_log_is_pruned_is_not_picked(db):
    await store_result(db)
    assert not await tasks.pick(db, 1, 0)
    await closed(db, finish(1))
    pruned = "update ado.log_ranges set pruned_at = now() where"
    await raw(db, f"{pruned} not (from_task_id <= 1 and 1 < to_task_id)")
    await raw(db, f"{pruned} from_task_id <= 1 and 1 < to_task_id")
    assert not await tasks.pick(db, 1, 0)
    await raw(db, "update ado.log_ranges set pruned_at = null where from_task_id <= 1 and 1 < to_task_id")
    assert await tasks.pick(db, 1, 0)


async def test_only_questions_that_are_over_are_closed(db):
    due, waits = await ask(db, timeout=3600), await ask(db, 1, 1, timeout=3600)
    gone, other = await ask(db, 1, 2), await ask(db, 2)
    await raw(db, "update ado.questions set expires_at = now() where question_id = $1", due.question_id)
    await closed(db, finish(1, job=2, worker_id="w2"))
    await questions.close(db)
    rows = await raw(db, "select question_id, state from ado.questions")
    assert {row["question_id"]: row["state"] for row in rows} == {
        due.question_id: "expired",
        waits.question_id: "open",
        gone.question_id: "closed",
        other.question_id: "open",
    }
    assert (await log(db, 1))[-1] == ("answer", 0)
    assert (await log(db, 2))[-1] == ("question", 0)


@pytest.mark.parametrize(("default", "kind", "column"), [("yes", "text", "answer"), ("allow", "permission", "choice")])
async def test_an_expired_question_gets_its_default(db, default, kind, column):
    options = [] if kind == "text" else [{"id": "allow", "label": "Allow"}]
    asked = await ask(db, timeout=3600, kind=kind, options=options, default_answer=default)
    await raw(db, "update ado.questions set expires_at = now()")
    await questions.close(db)
    closed_question = await questions.get(db, asked.question_id)
    other = {"answer": "choice", "choice": "answer"}[column]
    assert (getattr(closed_question, column), getattr(closed_question, other)) == (default, None)
