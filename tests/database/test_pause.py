"""Paused jobs: how they become paused, what a paused one costs and survives, and how it goes on."""

import json

import pytest
from support.records import LEASE, SUSPECT, claim, closed, create, finish, register

from app.loops import monitor
from app.settings import AppSettings
from db import events, jobs, messages, tasks, users, workers
from db.actor import Actor
from db.users import UserLimits


@pytest.fixture
async def worker(db):
    return await register(db)


async def states(db, task_id):
    task = await tasks.get(db, task_id)
    return task.status, [job.status for job in task.jobs]


async def job_of(db, task_id, job=0):
    return (await tasks.get(db, task_id)).jobs[job]


async def log(db, task_id):
    page = await events.page(db, task_id, 0, row_limit=1000, byte_limit=1 << 30)
    return [(event.type, event.job, json.loads(event.body or "{}")) for event in page.events]


async def release(db, task_id, *, job=0, attempt=1, outcome="released", reason="paused", **report):
    found = await closed(db, finish(task_id, outcome, job=job, attempt=attempt, reason=reason, **report))
    await tasks.after_failure(db, task_id)
    return found[0].status


async def counts(db, task_id):
    (row,) = await db._pool.fetch("select losses, failures, interruptions from ado.jobs where task_id = $1", task_id)
    return tuple(row)


async def test_a_queued_job_is_paused_at_once_and_not_claimed(db, worker):
    task_id = await create(db, workers=2)
    await tasks.pause(db, task_id, "lunch", Actor("tasks.pause", "user-1", None, name="anna"))
    assert await states(db, task_id) == ("paused", ["paused", "paused"])
    assert await jobs.counts(db) == (0, 0, 2)
    assert await claim(db) == []
    assert (await log(db, task_id))[1:] == [("paused", None, {"reason": "lunch", "by": "anna"})]


async def test_a_running_job_is_paused_once_its_worker_hands_it_back(db, worker):
    task_id = await create(db)
    await claim(db)
    await tasks.pause(db, task_id, None)
    assert await states(db, task_id) == ("running", ["running"])
    assert (await jobs.held(db, "w1")) == {(task_id, 0, 1): "pause"}
    assert await workers.open_commands(db, []) == {("w1", f"pause:{task_id}:0:1")}
    assert await release(db, task_id) == "paused"
    assert await states(db, task_id) == ("paused", ["paused"])
    assert await jobs.held(db, "w1") == {}
    assert await claim(db) == []
    assert (await log(db, task_id))[-1] == ("released", 0, {"reason": "paused", "paused": True})


async def test_a_heartbeat_tells_of_a_pause(db, worker):
    task_id = await create(db)
    await claim(db)
    await tasks.pause(db, task_id, None)
    renewal = await workers.heartbeat(
        db, worker_id="w1", session=worker, listed=[(task_id, 0, 1)], load=None, at=None, stopped=False,
        lease_seconds=LEASE,
    )  # fmt: skip
    assert [held.command for held in renewal.held] == ["pause"]


async def test_a_repeated_pause_and_resume_change_nothing(db, worker):
    task_id = await create(db)
    for _ in range(2):
        await tasks.pause(db, task_id, None)
    assert await tasks.resume(db, task_id)
    assert not await tasks.resume(db, task_id)
    assert [kind for kind, _, _ in await log(db, task_id)] == ["created", "paused", "resumed"]
    assert await states(db, task_id) == ("queued", ["queued"])


async def test_a_resumed_job_runs_as_the_next_attempt_of_a_running_task(db, worker):
    task_id = await create(db)
    await claim(db)
    await tasks.pause(db, task_id, None)
    await release(db, task_id)
    await tasks.resume(db, task_id)
    assert await states(db, task_id) == ("running", ["queued"])
    assert (await job_of(db, task_id)).reason is None
    (claimed,) = await claim(db)
    assert claimed.attempt == 2


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
async def test_an_end_that_comes_before_the_pause_stands(db, worker, outcome):
    task_id = await create(db)
    await claim(db)
    await tasks.pause(db, task_id, None)
    await release(db, task_id, outcome=outcome, reason=None)
    assert await states(db, task_id) == (outcome, [outcome])
    assert (await job_of(db, task_id)).pause_requested_at is None
    await tasks.pause(db, task_id, None)
    assert not await tasks.resume(db, task_id)
    assert await states(db, task_id) == (outcome, [outcome])


async def test_a_failure_with_retries_left_is_paused_and_counted(db, worker):
    task_id = await create(db, retries=1)
    await claim(db)
    await tasks.pause(db, task_id, None)
    assert await release(db, task_id, outcome="failed", reason="exit_nonzero") == "paused"
    kind, _, body = (await log(db, task_id))[-1]
    assert (kind, body["reason"], body["paused"]) == ("requeued", "exit_nonzero", True)
    assert await counts(db, task_id) == (0, 1, 0)


@pytest.mark.parametrize("reason", ["paused", "shutdown"])
async def test_a_paused_attempt_counts_for_no_bound(db, worker, reason):
    await workers.monitor_tick(db, heartbeat=5, suspect=SUSPECT, lease=LEASE, losses=3, attempts=2)
    task_id = await create(db)
    for attempt in range(1, 5):
        await claim(db)
        await tasks.pause(db, task_id, None)
        assert await release(db, task_id, attempt=attempt, reason=reason) == "paused"
        await tasks.resume(db, task_id)
    assert await counts(db, task_id) == (0, 0, 0)


async def test_a_job_that_is_resumed_before_its_worker_hands_it_back_is_queued_without_a_count(db, worker):
    task_id = await create(db)
    await claim(db)
    await tasks.pause(db, task_id, None)
    await tasks.resume(db, task_id)
    assert await states(db, task_id) == ("running", ["running"])
    assert await jobs.held(db, "w1") == {(task_id, 0, 1): None}
    assert await release(db, task_id) == "queued"
    assert await counts(db, task_id) == (0, 0, 0)


@pytest.mark.parametrize(("reason", "loss"), [("lost", True), ("claim_lost", False), ("worker_replaced", True)])
async def test_a_worker_that_is_lost_while_it_pauses_leaves_the_job_paused(db, worker, reason, loss):
    task_id = await create(db)
    for attempt in range(1, 5):  # more than the losses at which a job fails
        await claim(db)
        await tasks.pause(db, task_id, None)
        ended = await jobs.end_attempts(db, [(task_id, 0, attempt)], reason=reason, loss=loss)
        await monitor.settle_ended(db, ended, reason)
        assert await states(db, task_id) == ("paused", ["paused"])
        kind, _, body = (await log(db, task_id))[-1]
        assert (kind, body["reason"], body["paused"]) == ("requeued", reason, True)
        await tasks.resume(db, task_id)
    assert await counts(db, task_id) == (0, 0, 0)


async def test_a_monitor_marks_the_task_of_a_replica_that_died_after_the_last_job_was_paused(db, worker):
    task_id = await create(db)
    await claim(db)
    await tasks.pause(db, task_id, None)
    await closed(db, finish(task_id, "released", reason="paused"))
    assert task_id in await tasks.unsettled(db)
    await tasks.after_failure(db, task_id)
    assert await states(db, task_id) == ("paused", ["paused"])
    assert task_id not in await tasks.unsettled(db)


async def test_a_task_is_paused_once_no_other_job_runs(db, worker):
    task_id = await create(db, workers=3)
    await claim(db, limit=2)
    await tasks.pause(db, task_id, None)
    assert await states(db, task_id) == ("running", ["running", "running", "paused"])
    await release(db, task_id, job=0)
    assert await states(db, task_id) == ("running", ["paused", "running", "paused"])
    await release(db, task_id, job=1, outcome="succeeded", reason=None)
    assert await states(db, task_id) == ("paused", ["paused", "succeeded", "paused"])


@pytest.mark.parametrize("settles", [True, False])
async def test_a_paused_task_is_cancelled_at_once(db, worker, settles):
    task_id = await create(db, workers=2)
    await claim(db, limit=1)
    await tasks.pause(db, task_id, None)
    await release(db, task_id)
    if settles:
        await tasks.cancel(db, task_id, "enough")
    else:  # the replica dies between the two statements, and a monitor goes on
        await db.many("cancel_task", task_id=task_id, reason="enough", actor=None)
        assert await tasks.unsettled(db) == [task_id]
        await tasks.after_failure(db, task_id)
    assert await states(db, task_id) == ("cancelled", ["cancelled", "cancelled"])
    assert (await log(db, task_id))[-1][0] == "cancelled"
    assert not await tasks.resume(db, task_id)


async def test_a_cancel_outranks_a_pause(db, worker):
    task_id = await create(db)
    await claim(db)
    await tasks.pause(db, task_id, None)
    await tasks.cancel(db, task_id, None)
    assert await jobs.held(db, "w1") == {(task_id, 0, 1): "cancel"}
    await release(db, task_id)
    assert await states(db, task_id) == ("cancelled", ["cancelled"])


async def test_a_job_that_is_being_stopped_is_not_paused(db, worker):
    task_id = await create(db)
    await claim(db)
    await tasks.cancel(db, task_id, None)
    await tasks.pause(db, task_id, None)
    assert [kind for kind, _, _ in await log(db, task_id)] == ["created", "started", "cancel_requested"]


async def test_a_failed_sibling_stops_paused_jobs_of_a_task_that_fails_fast(db, worker):
    task_id = await create(db, workers=2, on_failure="fail_fast")
    await claim(db)
    await tasks.pause(db, task_id, None)
    await release(db, task_id, job=0)
    await release(db, task_id, job=1, outcome="failed", reason="exit_nonzero")
    assert await states(db, task_id) == ("failed", ["cancelled", "failed"])


async def test_a_monitor_stops_paused_siblings_if_a_replica_died_before_it_did(db, worker):
    task_id = await create(db, workers=2, on_failure="fail_fast")
    await claim(db)
    await tasks.pause(db, task_id, None)
    await release(db, task_id, job=0)
    await closed(db, finish(task_id, "failed", job=1, reason="exit_nonzero"))
    await monitor.step(db, AppSettings(dsn="unused"))
    assert await states(db, task_id) == ("failed", ["cancelled", "failed"])


async def test_a_paused_job_runs_into_no_limit_of_time(db, worker):
    task_id = await create(db, timeout_seconds=60.0, start_within_seconds=60.0)
    await tasks.pause(db, task_id, None)
    await db._pool.fetch("update ado.tasks set start_by = now() - interval '1 hour' where task_id = $1", task_id)
    assert await jobs.fail_unstarted(db) == []
    await tasks.resume(db, task_id)
    assert await jobs.fail_unstarted(db) == []  # the time begins anew
    await claim(db)
    await tasks.pause(db, task_id, None)
    await release(db, task_id)
    await db._pool.fetch("update ado.jobs set started_at = now() - interval '1 hour' where task_id = $1", task_id)
    assert await jobs.time_out(db) == []
    assert await states(db, task_id) == ("paused", ["paused"])


async def test_paused_jobs_are_no_demand(db, worker):
    task_id = await create(db, workers=5)
    await tasks.pause(db, task_id, None)
    assert await jobs.ready_demands(db) == []
    assert await db._pool.fetch("select * from ado.podless_jobs(null, 10)") == []
    assert await tasks.obstacles(db, task_id) == []
    (row,) = await db._pool.fetch("select queued, paused from ado.task_status where task_id = $1", task_id)
    assert tuple(row) == (0, 5)


async def test_a_message_to_a_paused_job_waits_and_leaves_it_paused(db, worker):
    task_id = await create(db, agent="scripted")
    await register(db, "w2", capabilities=("scripted",))
    await tasks.pause(db, task_id, None)
    number = await messages.send(db, task_id, None, "hello", idempotency_key=None, task_limit=9, waiting_limit=9)
    assert await states(db, task_id) == ("paused", ["paused"])
    await tasks.resume(db, task_id)
    (claimed,) = await claim(db, "w2")
    assert claimed.messages == 1
    assert await messages.waiting(db, "w2") == [(number, (task_id, 0, 1))]


async def test_a_message_that_the_agent_missed_waits_with_the_paused_job(db):
    task_id = await create(db, agent="scripted")
    await register(db, capabilities=("scripted",))
    await claim(db)
    await messages.send(db, task_id, None, "hello", idempotency_key=None, task_limit=9, waiting_limit=9)
    await tasks.pause(db, task_id, None)
    assert await release(db, task_id, outcome="succeeded", reason=None) == "paused"
    kind, _, body = (await log(db, task_id))[-1]
    assert (kind, body["paused"]) == ("continued", True)


async def test_words_for_open_jobs_do_not_continue_jobs_that_have_ended(db):
    task_id = await create(db, agent="scripted", workers=2)
    await register(db, capabilities=("scripted",))
    await claim(db)
    await release(db, task_id, job=0, outcome="succeeded", reason=None)
    await tasks.pause(db, task_id, None)
    await release(db, task_id, job=1)
    sent = {"idempotency_key": None, "task_limit": 9, "waiting_limit": 9, "open_only": True}
    number = await messages.send(db, task_id, None, "hello", **sent)
    assert [told.job for told in (await messages.get(db, task_id, number)).recipients] == [1]
    assert await states(db, task_id) == ("paused", ["succeeded", "paused"])


async def test_a_paused_task_is_listed_watched_and_not_removed(db):
    task_id = await create(db)
    await tasks.pause(db, task_id, None)
    listed, _ = await tasks.page(db, tasks.TaskFilter(statuses=["paused"]), limit=10, bytes_=10**6, before=None)
    assert [task.task_id for task in listed] == [task_id]
    assert [seen[:2] for seen in await tasks.watched(db, newest=0, known=[], late_ids=0, limit=5)] == [
        (task_id, "paused")
    ]
    assert await tasks.remove(db, task_id) == "paused"
    assert await states(db, task_id) == ("paused", ["paused"])


async def test_a_failed_job_of_a_paused_task_is_retried_and_the_task_is_paused_again(db, worker):
    task_id = await create(db, workers=2)
    await claim(db, limit=1)
    await tasks.pause(db, task_id, None)
    await release(db, task_id, outcome="failed", reason="exit_nonzero")
    assert await states(db, task_id) == ("paused", ["failed", "paused"])
    assert await tasks.retry(db, task_id)
    assert await states(db, task_id) == ("queued", ["queued", "paused"])
    await claim(db)
    await release(db, task_id, attempt=2, outcome="succeeded", reason=None)
    assert await states(db, task_id) == ("paused", ["succeeded", "paused"])
    await tasks.resume(db, task_id)
    await claim(db)
    await release(db, task_id, job=1, outcome="succeeded", reason=None)
    assert await states(db, task_id) == ("succeeded", ["succeeded", "succeeded"])


async def test_paused_jobs_count_for_the_limit_of_queued_ones(db):
    limits = UserLimits(queued=2)
    user = await users.add(db, "anna", "developer", email=None, external_id=None, limits=limits, actor=None)
    anna = Actor("tasks.create", f"user-{user.user_id}", None, name="anna")
    first = await create(db, workers=2, actor=anna)
    await tasks.pause(db, first, None)
    assert await create(db, actor=anna) is None


async def test_the_input_of_a_paused_job_is_kept(db):
    task_id = await create(db, requires=("input:stdin",))
    await register(db, capabilities=("shell", "input:stdin"))
    await claim(db)
    await tasks.pause(db, task_id, None)
    await release(db, task_id)
    (row,) = await db._pool.fetch("select count(*) as inputs from ado.inputs where task_id = $1", task_id)
    assert row["inputs"] == 1
