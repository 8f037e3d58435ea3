"""Which times of a schedule run, once each, as statements and the loop of a replica decide."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from support.records import create
from support.schedules import DAY, MINUTE, SECOND, add, keys, now, put_off, put_off_to, run, shown, tasks

from app.loops import scheduler
from db import schedules
from db.model import ScheduledTime


def test_a_due_time_creates_the_templates_task_for_the_owner(real):
    add(real)
    due = put_off(real, SECOND)
    run(real)
    (task,) = tasks(real)
    assert (task["prompt"], task["agent"], task["created_by"]) == ("echo me", "shell", "user-1")
    assert (task["labels"], task["idempotency_key"]) == ('{"schedule": "schedule-1"}', f"schedule-1@{due.isoformat()}")
    schedule = shown(real)
    assert (schedule.runs, schedule.last_at, schedule.last_task_id) == (1, due, "task-1")
    assert schedule.next_at > due + MINUTE
    (entry,) = real.sql("select * from ado.audit where target = 'task-1'")
    assert (entry["procedure"], entry["user_id"], entry["token_id"]) == ("schedules.run", "user-1", None)
    (event,) = real.sql("select body::text from ado.events where task_id = 1")
    assert '"by":"anna"' in event[0].replace(" ", "")


def test_times_that_are_late_by_less_than_a_minute_run_each(real):
    add(real, "* * * * * *", overlap="allow")
    due = put_off(real, 5 * SECOND)
    run(real)
    assert keys(real)[:6] == [f"schedule-1@{(due + n * SECOND).isoformat()}" for n in range(6)]
    assert shown(real).missed_times == 0


def test_of_many_replicas_with_the_same_time_one_creates_its_task(real):
    add(real)
    put_off(real, SECOND)
    (found,) = real.run(schedules.due(real.db, 10))
    many = [scheduler.Scheduler(real.db, real.scheduler._creations, real.scheduler._prepare, poll_seconds=1)] * 10

    async def at_once():
        return await asyncio.gather(*(each._run_safely(found) for each in many))

    assert sum(real.run(at_once())) == 1
    assert len(tasks(real)) == 1
    assert shown(real).runs == 1
    assert real.sql("select last_value from ado.tasks_task_id_seq")[0][0] == 1  # the others use up no numbers


def test_a_time_that_was_read_before_a_change_does_not_run(real):
    """What a stopped replica has read may be old when it goes on."""
    changes = {
        "paused": lambda name: real.call("schedules.pause", scheduleId=name),
        "resumed": lambda name: (
            real.call("schedules.pause", scheduleId=name),
            real.call("schedules.resume", scheduleId=name),
        ),
        "removed": lambda name: real.call("schedules.remove", scheduleId=name),
    }
    for change in changes.values():
        name = add(real)
        put_off(real, SECOND, schedule_id=name)
        (found,) = real.run(schedules.due(real.db, 10))
        change(name)
        assert not real.run(real.scheduler._run_safely(found))
        real.call("schedules.remove", scheduleId=name)
    assert tasks(real) == []


def test_a_time_that_has_run_does_not_run_again_once_its_task_is_removed(real):
    add(real)
    put_off(real, SECOND)
    (found,) = real.run(schedules.due(real.db, 10))
    run(real)
    real.call("tasks.cancel", taskId="task-1")
    real.call("tasks.remove", taskId="task-1")
    assert not real.run(real.scheduler._run_safely(found))
    assert tasks(real) == []


def test_a_creation_of_another_schedule_or_person_is_not_held_up(real):
    """A schedule that another replica holds is passed over, and what is stored in the same commit is stored."""
    name = add(real)
    due = put_off(real, SECOND)
    time = ScheduledTime(1, due, due, due + DAY)

    async def meanwhile():
        async with real.db._pool._pool.acquire() as connection, connection.transaction():
            await connection.execute("select * from ado.schedules for update")
            return await create(real.db, schedule=time), await create(real.db)

    assert real.run(meanwhile()) == (None, 1)
    assert shown(real, name).runs == 0


@pytest.mark.parametrize(
    ("rule", "late", "ran", "missed"),
    [
        ("once", timedelta(hours=50), -timedelta(hours=2), 2),  # three times were missed, and one run is for all
        ("skip", timedelta(hours=50), None, 3),
        ("once", timedelta(seconds=30), -timedelta(seconds=30), 0),
        ("skip", timedelta(seconds=30), -timedelta(seconds=30), 0),
        ("once", DAY + 30 * SECOND, -30 * SECOND, 1),  # the last one is not late
        ("skip", DAY + 30 * SECOND, -30 * SECOND, 1),
    ],
)
def test_missed_times_run_once_or_not_at_all(real, rule, late, ran, missed):
    instant = now(real).replace(microsecond=0)
    first = instant - late
    add(real, f"{first.second} {first.minute} {first.hour} * * *", missed=rule)
    put_off_to(real, first)
    run(real)
    schedule = shown(real)
    assert keys(real) == ([f"schedule-1@{(instant + ran).isoformat()}"] if ran is not None else [])
    assert (schedule.missed_times, schedule.runs) == (missed, 0 if ran is None else 1)
    assert schedule.next_at > now(real)
    assert schedule.next_at - first in {DAY * n for n in range(1, 4)}
    assert ("missed" in str(schedule.problem)) is (ran is None)


def test_missed_times_are_counted_in_the_metrics(real):
    before = scheduler.instruments.SCHEDULE_TIMES_MISSED._value.get()
    add(real, missed="skip")
    put_off(real, 2 * DAY)
    run(real)
    assert scheduler.instruments.SCHEDULE_TIMES_MISSED._value.get() == before + shown(real).missed_times
    assert shown(real).missed_times >= 2


@pytest.mark.parametrize(
    ("rule", "statuses", "skipped"),
    [
        ("skip", ["queued"], 1),
        ("allow", ["queued", "queued"], 0),
        ("cancel", ["cancelled", "queued"], 0),
        ("queue", ["queued"], 1),
    ],
)
def test_the_rule_of_overlap_decides_while_the_last_task_has_not_ended(real, rule, statuses, skipped):
    add(real, "* * * * * *", overlap=rule)
    for late in (20, 10):
        put_off(real, late * SECOND)
        real.run(real.scheduler.step())
    assert [task["status"] for task in tasks(real)] == statuses
    schedule = shown(real)
    assert (schedule.skipped_times, schedule.runs) == (skipped, len(statuses))
    assert ("task-1 had not ended" in str(schedule.problem)) is (rule == "skip")
    assert ("task-1 had not begun" in str(schedule.problem)) is (rule == "queue")


def test_in_a_queue_one_task_waits_for_the_end_of_the_last_one(real):
    add(real, "* * * * * *", overlap="queue")
    session = real.call("workers.register", workerId="w", capabilities=["shell"], instance="i").session

    def next_time(late):
        put_off(real, late * SECOND)
        real.run(real.scheduler.step())

    def claim():
        return [job.task_id for job in real.call("workers.claim", workerId="w", session=session, limit=9).jobs]

    next_time(50)
    assert claim() == ["task-1"]
    next_time(40)
    next_time(30)
    assert (len(tasks(real)), shown(real).skipped_times) == (2, 1)
    assert claim() == []
    finish = {"workerId": "w", "jobId": "task-1/0", "attempt": 1, "outcome": "failed", "exitCode": 1}
    real.call("workers.finish", **finish)
    assert claim() == ["task-2"]
    next_time(20)
    edges = real.sql("select task_id, after_task_id, any_end from ado.dependencies order by task_id")
    assert [tuple(row) for row in edges] == [(2, 1, True), (3, 2, True)]


def test_after_the_last_task_has_ended_or_is_removed_the_next_time_runs(real):
    add(real)
    for number in (1, 2, 3):
        put_off(real, (40 - 10 * number) * SECOND)
        run(real)
        real.call("tasks.cancel", taskId=f"task-{number}")
        if number == 2:
            real.call("tasks.remove", taskId="task-2")
    assert shown(real).runs == 3


def test_a_time_that_has_run_does_not_run_again_after_the_clock_went_back(real):
    """As after a restored backup of the schedule, or when the database's clock is set back before a resume."""
    add(real)
    due = put_off(real, SECOND)
    run(real)
    real.call("tasks.cancel", taskId="task-1")
    real.sql("update ado.schedules set after_at = $1::timestamptz - interval '1 s', next_at = $1, last_at = null", due)
    run(real)
    assert len(tasks(real)) == 1
    assert "task-1 had run this time already" in shown(real).problem
    assert shown(real).next_at > due
    real.sql("update ado.schedules set last_at = now() + interval '2 days'")
    real.call("schedules.pause", scheduleId="schedule-1")
    assert real.call("schedules.resume", scheduleId="schedule-1").next_at > now(real) + 2 * DAY


def test_a_replicas_own_clock_decides_nothing(real, monkeypatch):
    add(real)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2031, 1, 1, tzinfo=UTC)

    monkeypatch.setattr("app.loops.scheduler.datetime", Wrong, raising=False)
    monkeypatch.setattr("time.time", lambda: 0.0)
    run(real)
    assert tasks(real) == []


def test_next_times_are_planned_anew_when_a_zones_rules_change(real):
    """As at the start of a replica with newer rules: the time that an older one planned is an hour off."""
    add(real, "0 3 * * *", timezone="Europe/Prague")
    planned = shown(real).next_at
    real.sql("update ado.schedules set next_at = next_at + interval '1 hour'")
    real.run(real.scheduler.plan())
    assert shown(real).next_at == planned


def test_a_paused_schedule_runs_nothing_and_misses_nothing(real):
    add(real)
    real.call("schedules.pause", scheduleId="schedule-1")
    real.call("schedules.pause", scheduleId="schedule-1")
    real.sql("update ado.schedules set after_at = after_at - interval '3 days', next_at = next_at - interval '3 days'")
    run(real)
    assert tasks(real) == []
    resumed = real.call("schedules.resume", scheduleId="schedule-1")
    assert (resumed.state, resumed.missed_times) == ("active", 0)
    assert resumed.next_at > now(real)
    assert real.call("schedules.resume", scheduleId="schedule-1").next_at == resumed.next_at


def test_how_long_a_replica_may_sleep_is_up_to_the_next_time(real):
    assert real.run(schedules.seconds_to_next(real.db)) is None
    add(real, "0 0 1 1 *")
    assert real.run(schedules.seconds_to_next(real.db)) > 0
    put_off(real, 5 * SECOND)
    assert real.run(schedules.seconds_to_next(real.db)) < 0
    real.sql("update ado.schedules set retry_at = now() + interval '100 s'")
    assert 90 < real.run(schedules.seconds_to_next(real.db)) <= 100
