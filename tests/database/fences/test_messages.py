"""What a message from a person changes, which jobs get it, and when it is refused."""

import pytest
from support.fences import changes, log, raw
from support.records import closed, finish

from db import messages, users
from db.actor import Actor
from db.users import UserLimits

ANNA = Actor("tasks.send", "user-1", None, name="anna", account="user-1")


def to(db, task_id, job=None, *, key=None, limit=9, waiting=9, open_only=False, actor=ANNA):
    return messages.send(
        db,
        task_id,
        job,
        "hello",
        idempotency_key=key,
        task_limit=limit,
        waiting_limit=waiting,
        open_only=open_only,
        actor=actor,
    )


async def recipients(db, number):
    return [told.job for told in (await messages.get(db, 1, number)).recipients]


@pytest.fixture(autouse=True)
async def agents(db, world):
    """Make the tasks of an agent that takes messages."""
    await raw(db, "update ado.tasks set agent = 'scripted'")


@pytest.fixture
async def ended(db):
    """Job 0 of task 1 has ended, and a checkpoint of it is kept."""
    await closed(db, finish(1))
    await raw(
        db,
        """
        insert into ado.files (file_id, kind, task_id, job, attempt, worker_id, size, sha256, completed_at)
        values ('f', 'checkpoint', 1, 0, 1, 'w1', 0, sha256(''), now())""",
    )


async def test_a_message_goes_to_its_job_alone(db):
    number, changed = await changes(db, to(db, 1, 1))
    assert changed == {(f"message {number}", "1", 1), ("job", "1", 1), ("log", "1")}
    assert (await log(db, 1))[-1] == ("message", 1)
    assert len(await raw(db, "select from ado.audit where target = 'task-1'")) == 1


async def test_a_message_without_a_job_goes_to_those_that_can_take_it(db):
    await raw(
        db, "update ado.jobs set stop_reason = 'cancelled', stop_requested_at = now() where task_id = 1 and job = 0"
    )
    await raw(db, "update ado.jobs set status = 'cancelled', finished_at = now(), finished_seq = 1, worker_id = null,"
                  " lease_expires_at = null where task_id = 1 and job = 1")  # fmt: skip
    assert await recipients(db, await to(db, 1)) == [2]
    assert await to(db, 1, 0) is None
    assert await to(db, 1, 1) is None
    assert (await log(db, 1))[-1] == ("message", None)


async def test_a_message_to_a_running_job_belongs_to_its_attempt_and_one_to_a_queued_job_to_none(db):
    await to(db, 2)
    rows = await raw(db, "select job, sent_in from ado.message_jobs order by job")
    assert [tuple(row) for row in rows] == [(0, 1), (1, None)]


async def test_a_key_stores_one_message_of_a_task(db):
    assert await to(db, 1, key="k")
    assert await changes(db, to(db, 1, key="k")) == (None, set())
    assert await to(db, 2, key="k")


async def test_a_limit_counts_the_messages_of_its_task(db):
    await to(db, 2)
    assert await to(db, 1, limit=1)
    assert await to(db, 1, limit=1) is None


async def test_a_limit_counts_what_waits_of_its_sender_in_its_task(db):
    other = Actor("tasks.send", "user-2", None, name="ben", account="user-2")
    await to(db, 2)
    await to(db, 1, actor=other)
    number = await to(db, 1, waiting=1)
    assert await to(db, 1, waiting=1) is None
    await raw(db, "update ado.message_jobs set delivered_at = now(), delivered_in = 1 where message_id = $1", number)
    assert await to(db, 1, waiting=1)


@pytest.mark.parametrize(
    "change",
    [
        "update ado.tasks set agent = 'shell' where task_id = 1",
        "update ado.log_ranges set pruned_at = now() where from_task_id <= 1 and 1 < to_task_id",
    ],
)
async def test_a_task_that_takes_no_message_gets_none(db, change):
    await raw(db, change)
    assert await changes(db, to(db, 1)) == (None, set())


async def test_the_log_of_another_range_may_be_pruned(db):
    await raw(db, "update ado.log_ranges set pruned_at = now() where not (from_task_id <= 1 and 1 < to_task_id)")
    await raw(db, "insert into ado.log_ranges (from_task_id, to_task_id, pruned_at) values (-1000, 0, now())")
    assert await to(db, 1)


async def test_a_message_continues_a_job_that_has_ended(db, ended):
    number = await to(db, 1, 0)
    (job,) = await raw(
        db,
        "select status, continues, last_message_id, finished_at, worker_id, attempt from ado.jobs"
        " where task_id = 1 and job = 0",
    )
    assert tuple(job) == ("queued", True, number, None, None, 1)
    assert (await log(db, 1))[-2:] == [("message", 0), ("continued", 0)]
    (task,) = await raw(db, "select status from ado.tasks where task_id = 1")
    assert task["status"] == "running"  # its other jobs run


async def test_a_message_reopens_no_other_task(db, ended):
    await raw(db, "update ado.tasks set status = 'failed', finished_at = now()")
    number, changed = await changes(db, to(db, 1, 0))
    assert changed == {(f"message {number}", "1", 0), ("job", "1", 0), ("log", "1"), ("task", "1")}


async def test_only_ended_jobs_need_what_continues_them(db, ended):
    """A checkpoint and room in the user's queue are needed for one job of three."""
    await raw(db, """
        with anna as (insert into ado.users (user_id, name, role, queued_limit) values (7, 'anna', 'developer', 1))
        update ado.jobs set user_id = 7 where task_id = 1""")  # fmt: skip
    assert await recipients(db, await to(db, 1)) == [0, 1, 2]


async def test_running_jobs_take_a_message_when_nothing_could_continue_them(db):
    await raw(db, CANNOT_CONTINUE["without its environment"])
    assert await recipients(db, await to(db, 1)) == [0, 1, 2]


async def test_a_message_leaves_ended_jobs_out_if_it_is_for_open_ones(db, ended):
    assert await recipients(db, await to(db, 1, open_only=True)) == [1, 2]
    assert await recipients(db, await to(db, 1)) == [0, 1, 2]


CANNOT_CONTINUE = {
    "without a checkpoint": "delete from ado.files",
    "with a checkpoint that is not complete": "update ado.files set completed_at = null",
    "with a checkpoint of another job": "update ado.files set job = 1",
    "with a checkpoint of another task": "update ado.files set task_id = 2",
    "with a result instead of a checkpoint": "update ado.files set kind = 'result'",
    "without its environment": """
        insert into ado.task_environments (task_id, environment, forgotten_at) values (1, '{}', now())""",
    "with input": "update ado.tasks set requires = array['input:stdin'] where task_id = 1",
    "beside a failure that stops its task": """
        with failed as (update ado.tasks set on_failure = 'fail_fast' where task_id = 1)
        update ado.jobs set status = 'failed', worker_id = null, lease_expires_at = null, finished_at = now(),
            finished_seq = 1 where task_id = 1 and job = 2""",
}


@pytest.mark.parametrize("name", CANNOT_CONTINUE)
async def test_an_ended_job_does_not_continue(db, ended, name):
    await raw(db, CANNOT_CONTINUE[name])
    assert await changes(db, to(db, 1, 0)) == (None, set())
    assert await to(db, 1, 1)  # a job that has not ended takes it


CAN_CONTINUE = {
    "beside another task that lost its environment": """
        insert into ado.task_environments (task_id, environment, forgotten_at) values (2, '{}', now())""",
    "with its environment": "insert into ado.task_environments (task_id, environment) values (1, '{}')",
    "beside a failure that does not stop its task": """
        update ado.jobs set status = 'failed', worker_id = null, lease_expires_at = null, finished_at = now(),
            finished_seq = 1 where task_id = 1 and job = 2""",
    "after its own failure": """
        with failed as (update ado.tasks set on_failure = 'fail_fast' where task_id = 1)
        update ado.jobs set status = 'failed' where task_id = 1 and job = 0""",
    "beside a failure in another task": """
        with failed as (update ado.tasks set on_failure = 'fail_fast')
        update ado.jobs set status = 'failed', worker_id = null, lease_expires_at = null, finished_at = now(),
            finished_seq = 1 where task_id = 2""",
}


@pytest.mark.parametrize("name", CAN_CONTINUE)
async def test_an_ended_job_continues(db, ended, name):
    await raw(db, CAN_CONTINUE[name])
    assert await to(db, 1, 0)


async def test_an_ended_job_continues_while_the_queue_of_its_user_has_room(db, ended):
    anna = await users.add(db, "anna", "developer", email=None, external_id=None, limits=UserLimits(), actor=None)
    await raw(db, "update ado.jobs set user_id = $1", anna.user_id)
    await users.change(db, anna.user_id, limits=UserLimits(queued=1), actor=None)  # job 1 of task 2 waits
    assert await to(db, 1, 0) is None
    assert await to(db, 1, 1)
    await users.change(db, anna.user_id, limits=UserLimits(queued=2), actor=None)
    assert await to(db, 1, 0)
