"""When a task ends or is paused and how, which jobs a failure stops, and which attempts are timed out."""

import asyncio

import orjson
import pytest
from support.fences import changes, claimed, log, raw, until_blocked
from support.records import claim, closed, create, finish, register

from db import jobs, tasks


async def end_jobs(db, *outcomes):
    """End the jobs of task 1, the last one first."""
    for job, outcome in reversed([*enumerate(outcomes)]):
        await closed(db, finish(1, outcome, job=job, worker_id="w2" if job == 2 else "w1", reason=f"reason {job}"))


async def test_a_task_ends_once_when_all_its_jobs_have(db):
    await end_jobs(db, "succeeded", "succeeded")
    assert await changes(db, tasks.settle_all(db, [1, 2])) == ({}, set())
    await closed(db, finish(1, job=2, worker_id="w2"))
    assert await changes(db, tasks.settle_all(db, [2])) == ({}, set())
    assert await changes(db, tasks.settle_all(db, [1, 2])) == ({1: "succeeded"}, {("task", "1"), ("log", "1")})
    assert await changes(db, tasks.settle_all(db, [1, 2])) == ({}, set())
    (task,) = await raw(db, "select status, failed_job, reason, finished_at from ado.tasks where task_id = 1")
    assert tuple(task)[:3] == ("succeeded", None, None)
    assert task["finished_at"]


async def test_only_the_named_tasks_end(db):
    await end_jobs(db, "succeeded", "succeeded", "succeeded")
    await create(db)
    await register(db, "w3")
    assert await claimed(db, "w3") == [(2, 1), (3, 0)]
    await closed(db, finish(3, worker_id="w3"))
    assert await changes(db, tasks.settle_all(db, [3])) == ({3: "succeeded"}, {("task", "3"), ("log", "3")})


@pytest.mark.parametrize(
    ("outcomes", "status", "failed_job", "reason"),
    [
        (("succeeded", "failed", "failed"), "failed", 2, "reason 2"),
        (("cancelled", "failed", "succeeded"), "failed", 1, "reason 1"),
        (("cancelled", "succeeded", "succeeded"), "cancelled", None, "cancelled"),
    ],
)
async def test_a_task_ends_as_its_worst_job_and_names_the_first_failure(db, outcomes, status, failed_job, reason):
    await end_jobs(db, *outcomes)
    assert await tasks.settle(db, 1) == status
    (task,) = await raw(db, "select status, failed_job, reason from ado.tasks where task_id = 1")
    assert tuple(task) == (status, failed_job, reason)
    assert (await log(db, 1))[-1] == (status, None)
    (event,) = await raw(db, "select body from ado.events where type = $1 and job is null", status)
    assert orjson.loads(event["body"]).get("job") == failed_job


async def test_a_task_whose_other_jobs_are_paused_is_paused_once(db):
    await end_jobs(db, "failed", "succeeded")
    paused = "update ado.jobs set status = 'paused', reason = 'paused', worker_id = null, lease_expires_at = null"
    await raw(db, f"{paused} where task_id = 1 and job = 2")
    assert await changes(db, tasks.settle_all(db, [1, 2])) == ({}, {("task", "1")})
    assert await changes(db, tasks.settle_all(db, [1, 2])) == ({}, set())
    (task,) = await raw(db, "select status, finished_at from ado.tasks where task_id = 1")
    assert tuple(task) == ("paused", None)


async def test_a_task_with_a_job_that_is_queued_again_meanwhile_goes_on(db, own):
    await end_jobs(db, "failed", "succeeded", "succeeded")
    await own("update ado.jobs set status = 'queued', finished_at = null where task_id = 1 and job = 0")
    settling = asyncio.create_task(tasks.settle(db, 1))
    await until_blocked(db)
    await own("commit")
    assert await settling is None
    (task,) = await raw(db, "select status from ado.tasks where task_id = 1")
    assert task["status"] == "running"


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
async def test_a_success_forgets_the_environment_of_its_task(db, outcome):
    await raw(db, """insert into ado.task_environments (task_id, environment) values (1, '{"a": "b"}'), (2, '{}')""")
    await end_jobs(db, outcome, "succeeded", "succeeded")
    await tasks.settle(db, 1)
    rows = await raw(db, "select task_id from ado.task_environments where environment is null")
    assert [row["task_id"] for row in rows] == ([1] if outcome == "succeeded" else [])


async def test_the_run_of_a_task_is_measured_if_it_was_started(db):
    await create(db)
    await tasks.cancel(db, 3, None)
    await tasks.settle(db, 3)
    await end_jobs(db, "succeeded", "succeeded", "succeeded")
    await tasks.settle(db, 1)
    rows = await raw(db, "select measure, kind from ado.metric_notes where measure in ('finished', 'wait', 'run')")
    assert sorted(map(tuple, rows)) == [("finished", "cancelled"), ("finished", "succeeded"), ("run", ""), ("wait", "")]


@pytest.fixture
async def failed(db, world):
    """Task 3 stops at a failure of a job; its jobs: failed, running, to be cancelled, queued, paused and succeeded.

    The jobs of task 4 have the same numbers.
    """
    await raw(db, "update ado.jobs set status = 'cancelled', finished_at = now() where status = 'queued'")
    await create(db, workers=6, on_failure="fail_fast")
    await register(db, "w3")
    assert len(await claimed(db, "w3", 5)) == 5
    await raw(db, "update ado.jobs set stop_reason = 'cancelled', stop_requested_at = now()"
                  " where task_id = 3 and job = 2")  # fmt: skip
    for job, state in ((3, "status = 'queued'"), (4, "status = 'paused', reason = 'paused'")):
        await raw(db, f"update ado.jobs set {state}, lease_expires_at = null where task_id = 3 and job = $1", job)
    await raw(db, "update ado.jobs set status = 'succeeded', finished_at = now() where task_id = 3 and job = 5")
    await closed(db, finish(3, "failed", worker_id="w3"))
    await create(db, workers=6)


async def test_a_failure_stops_the_other_jobs_of_its_task_once(db, failed, own):
    stopped = {("job", "3", 1), ("job", "3", 3), ("job", "3", 4), ("log", "3")}
    assert (await changes(db, tasks.stop_siblings(db, 3)))[1] == stopped
    rows = await raw(db, "select status, stop_reason, reason from ado.jobs where task_id = 3 order by job")
    assert [row["status"] for row in rows] == [
        *("failed", "running", "running", "cancelled", "cancelled", "succeeded"),
    ]
    assert [row["stop_reason"] for row in rows] == [None, "sibling_failed", "cancelled", None, None, None]
    assert [rows[job]["reason"] for job in (3, 4)] == ["sibling_failed"] * 2
    assert (await log(db, 3))[-2:] == [("finished", 3), ("finished", 4)]
    assert (await changes(db, tasks.stop_siblings(db, 3)))[1] == set()
    for job in (1, 2):
        await closed(db, finish(3, "cancelled", job=job, worker_id="w3"))
    await own("select from ado.task_logs where task_id = 3 for update")
    async with asyncio.timeout(60):
        await tasks.stop_siblings(db, 3)  # it waits for no log when there is nothing to stop


async def test_only_a_failure_of_a_task_that_says_so_stops_jobs(db, failed):
    await closed(db, finish(2, "failed", worker_id="w2"))
    await raw(db, "update ado.jobs set status = 'queued', finished_at = null where task_id = 2 and job = 1")
    assert (await changes(db, tasks.stop_siblings(db, 2)))[1] == set()
    await raw(db, "update ado.tasks set on_failure = 'fail_fast' where task_id = 1")
    assert (await changes(db, tasks.stop_siblings(db, 1)))[1] == set()


async def test_only_running_attempts_beyond_the_time_of_their_task_are_timed_out(db):
    await raw(db, "update ado.tasks set timeout_seconds = 60 where task_id = 1")
    await create(db, timeout_seconds=3600)
    await claim(db)
    await raw(db, "update ado.jobs set started_at = now() - interval '61 seconds' where started_at is not null")
    await raw(db, "update ado.jobs set started_at = now() where task_id = 1 and job = 2")
    await closed(db, finish(1, job=1))
    assert await changes(db, jobs.time_out(db)) == (["w1"], {("job", "1", 0)})
    assert await changes(db, jobs.time_out(db)) == ([], set())
    (job,) = await raw(db, "select stop_reason, stop_requested_at from ado.jobs where task_id = 1 and job = 0")
    assert job["stop_reason"] == "timed_out"
    assert job["stop_requested_at"]
