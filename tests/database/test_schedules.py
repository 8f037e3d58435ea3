"""Schedules and templates, as procedures, statements and the loop of a replica decide them."""

import asyncio
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from msgspec import UNSET
from support.procedures import Real
from support.records import create

from app.loops import scheduler
from app.rpc.errors import ProcedureError
from db import schedules
from db.model import ScheduledTime
from db.tokens import TokenRow

TASK = {"prompt": "echo {who}", "agent": "shell"}
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def user(number, role="developer"):
    return TokenRow(f"tok-{number}", role, None, None, None, None, None, None, True, number, f"user{number}", "laptop")


ANNA, BOB = user(1, "operator"), user(2)


@pytest.fixture
def real(dsn):
    """A replica that an operator calls; bob is a developer."""
    made = Real(dsn)
    made.sql("insert into ado.users (name, role) values ('anna', 'operator'), ('bob', 'developer')")
    made.be(ANNA)
    made.call("templates.save", name="hi", task=TASK)
    made.run(made.scheduler.step())  # the first one plans anew
    yield made
    made.close()


def error_of(real, path, **value):
    """Return the message and the next step of a refusal."""
    procedure = real.procedures[path]
    with pytest.raises(ProcedureError) as caught:
        real.run(procedure.handler(real.context, *procedure.decode(value)))
    return caught.value.message, caught.value.hint


def add(real, cron="0 3 * * *", **values):
    added = real.call("schedules.add", **{"cron": cron, "template": "hi", "variables": {"who": "me"}, **values})
    assert not isinstance(added, str), added
    return added.schedule_id


def now(real):
    return real.sql("select now()")[0][0]


def put_off(real, by, *, schedule_id="schedule-1"):
    """Set the next time of a schedule to ``by`` before now, at a whole second; return it."""
    due = now(real).replace(microsecond=0) - by
    number = int(schedule_id.removeprefix("schedule-"))
    real.sql(
        "update ado.schedules set after_at = $1::timestamptz - interval '1 s', next_at = $1 where schedule_id = $2",
        due, number,
    )  # fmt: skip
    return due


def run(real):
    """Run what is due until nothing is."""
    while real.run(real.scheduler.step()):
        pass


def shown(real, schedule_id="schedule-1"):
    return next(item for item in real.call("schedules.list").items if item.schedule_id == schedule_id)


def tasks(real):
    return real.sql("select * from ado.tasks order by task_id")


def keys(real):
    return [row["idempotency_key"] for row in tasks(real)]


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
    due = put_off(real, now(real).replace(microsecond=0) - first)
    assert due == first
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


TEMPLATE = "update ado.templates set task = '%s'"
FAILURES = {
    "a disabled owner": ("update ado.users set disabled_at = now() where user_id = 1", "is disabled"),
    "an owner who may run nothing": ("update ado.users set role = 'viewer' where user_id = 1", "is a viewer now"),
    "a full queue": ("update ado.users set queued_limit = 0 where user_id = 1", "above the limit of 0"),
    "a template with another variable": (TEMPLATE % '{"prompt": "{x}"}', "variable x"),
    "a template of another release": (TEMPLATE % '{"prompt": "{who}", "workers": "x"}', "no longer fits"),
    "a template that the rules refuse": (TEMPLATE % '{"prompt": "{who}", "workers": 9999}', "workers"),
    "a zone that is no more": ("update ado.schedules set timezone = 'Europe/Gone'", "no time zone"),
    "a template of somebody else": ("update ado.templates set saved_by = 'user-2'", "need not trust"),
}


@pytest.mark.parametrize("why", FAILURES)
def test_what_keeps_a_time_from_running_is_shown_and_tried_again(real, why):
    change, shows = FAILURES[why]
    add(real)
    stored = real.sql("select s.*, u.*, t.task, t.saved_by from ado.schedules s, ado.users u, ado.templates t limit 1")
    due = put_off(real, SECOND)
    real.sql(change)
    run(real)
    schedule = shown(real)
    assert shows in schedule.problem
    assert (tasks(real), schedule.runs, schedule.next_at) == ([], 0, due)
    assert schedule.retry_at > now(real)
    run(real)
    assert real.sql("select failures from ado.schedules")[0][0] == 1  # not before its time
    assert real.sql("select state from ado.schedule_status")[0][0] == "failing"
    row = stored[0]
    real.sql("update ado.users set disabled_at = null, role = 'operator', queued_limit = null where user_id = 1")
    real.sql("update ado.templates set task = $1, saved_by = $2", row["task"], row["saved_by"])
    real.sql("update ado.schedules set timezone = 'UTC'")
    real.call("schedules.resume", scheduleId="schedule-1")  # at once
    run(real)
    schedule = shown(real)
    assert (schedule.runs, schedule.problem, schedule.retry_at) == (1, UNSET, UNSET)


def test_tries_after_failures_are_ever_rarer(real):
    add(real)
    put_off(real, SECOND)
    real.sql("update ado.users set disabled_at = now() where user_id = 1")
    waits = []
    for _ in range(9):
        real.sql("update ado.schedules set retry_at = null")
        real.run(real.scheduler.step())
        waits.append(real.sql("select extract(epoch from retry_at - now())::integer from ado.schedules")[0][0])
    assert waits == sorted(waits)
    assert 3 <= waits[0] <= 5
    assert 290 <= waits[-1] <= 300


def test_a_failure_is_still_told_when_its_time_is_given_up(real):
    add(real, missed="skip")
    put_off(real, 5 * SECOND)
    real.sql("update ado.users set disabled_at = now() where user_id = 1")
    run(real)
    put_off(real, 2 * MINUTE)
    real.sql("update ado.schedules set retry_at = null")
    run(real)
    problem = shown(real).problem
    assert "is disabled" in problem
    assert "missed" in problem


def test_a_services_schedule_ends_with_its_token(real):
    real.sql("insert into ado.tokens (token_id, digest, role) values ('tok-9', 'x', 'operator')")
    real.be(TokenRow("tok-9", "operator", None, None, None, None, None, None, True))
    add(real)
    put_off(real, SECOND)
    run(real)
    assert [task["created_by"] for task in tasks(real)] == ["tok-9"]
    real.call("tasks.cancel", taskId="task-1")
    real.sql("update ado.tokens set revoked_at = now()")
    put_off(real, SECOND)
    run(real)
    assert len(tasks(real)) == 1
    assert "token has ended" in shown(real).problem


def test_one_schedule_that_fails_does_not_stop_the_others(real):
    for _ in range(3):
        add(real)
    for number in (1, 2, 3):
        put_off(real, SECOND, schedule_id=f"schedule-{number}")
    real.sql("update ado.schedules set timezone = 'Europe/Gone' where schedule_id = 2")
    run(real)
    assert [shown(real, f"schedule-{number}").runs for number in (1, 2, 3)] == [1, 0, 1]


def test_nobody_takes_the_key_of_a_schedules_task(real):
    message, _ = error_of(real, "tasks.create", prompt="x", idempotencyKey="schedule-1@2026-01-01T00:00:00+00:00")
    assert "idempotencyKey" in message
    assert real.call("tasks.create", prompt="x", idempotencyKey="schedule-nightly").task_id


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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cron": "0 0 31 2 *"}, "never comes"),
        ({"cron": "nonsense"}, "is not a cron expression"),
        ({"timezone": "Europe/Praha"}, "no time zone"),
        ({"variables": {}}, "no value for the variable who"),
        ({"variables": {"who": "a", "x": "b"}}, "no variable x"),
        ({"variables": {"who": "\0"}}, "NUL"),
        ({"variables": {"who": "x" * 20_000}}, "more than the limit"),
        ({"template": "nope"}, "no template"),
        ({"template": "\0"}, "no template"),
    ],
)
def test_bad_input_of_a_schedule_is_refused_with_the_next_step(real, change, says):
    given = {"cron": "0 3 * * *", "template": "hi", "variables": {"who": "me"}, **change}
    message, hint = error_of(real, "schedules.add", **given)
    assert says in message
    assert hint
    assert real.call("schedules.list").items == []


def test_lists_come_in_pages(real):
    for name in ("a", "b"):
        real.call("templates.save", name=name, task=TASK)
        add(real)
    for path, key in (("templates.list", "name"), ("schedules.list", "schedule_id")):
        found, cursor = [], None
        while cursor is not UNSET:
            page = real.call(path, limit=1, cursor=cursor)
            found += [getattr(item, key) for item in page.items]
            cursor = page.next_cursor
        assert found == {"name": ["a", "b", "hi"], "schedule_id": ["schedule-1", "schedule-2"]}[key]
    assert real.call("schedules.list", cursor="x") == "invalid_input"
    assert real.call("templates.list", cursor="\0") == "invalid_input"


def test_the_numbers_of_schedules_and_templates_are_limited(real, monkeypatch):
    monkeypatch.setattr("app.procedures.schedules.SCHEDULES", 1)
    monkeypatch.setattr("app.procedures.templates.TEMPLATES", 1)
    add(real)
    assert (
        "remove one first" in error_of(real, "schedules.add", cron="0 3 * * *", template="hi", variables={"who": ""})[1]
    )
    assert "remove one first" in error_of(real, "templates.save", name="b", task=TASK)[1]
    assert real.call("templates.save", name="hi", task=TASK, overwrite=True).name == "hi"


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", "-a", "a" * 64, "a\n", "ä", "a\0", "@a", "a/b"])
def test_odd_names_of_templates_are_refused(real, name):
    message, hint = error_of(real, "templates.save", name=name, task=TASK)
    assert "name" in message
    assert hint
    assert real.call("templates.get", name=name) == "no_such_template"


def test_a_template_that_exists_is_changed_only_on_request_and_by_who_may(real):
    assert real.call("templates.save", name="hi", task=TASK) == "template_exists"
    real.be(BOB)
    assert real.call("templates.save", name="hi", task=TASK, overwrite=True) == "forbidden"
    assert real.call("templates.save", name="bobs", task=TASK).saved_by == "bob"
    real.be(ANNA)
    changed = real.call("templates.save", name="bobs", task=TASK | {"prompt": "{b}{a}{b}"}, overwrite=True)
    assert (changed.variables, changed.saved_by) == (["b", "a"], "anna")


def test_a_template_is_checked_when_it_is_saved(real):
    for task, says in (
        ({"prompt": " "}, "prompt"),
        ({"prompt": "x", "env": {"A": "secret"}}, "env"),
        ({"prompt": "x", "stdin": True}, "stdin"),
        ({"prompt": "x", "idempotencyKey": "k"}, "idempotencyKey"),
        ({"prompt": "x", "workspace": {"fileId": "file-" + "0" * 32}}, "workspace"),
        ({"prompt": "x", "budget": {"tokens": 1}}, "budget"),
        ({"prompt": "x", "approve": "all"}, "approve"),
        ({"prompt": "x", "workers": 100_000}, "workers"),
        ({"prompt": "x\0"}, "NUL"),
    ):
        assert says in error_of(real, "templates.save", name="bad", task=task)[0]
    assert "either task or fromTask" in error_of(real, "templates.save", name="bad")[0]
    assert real.call("templates.save", name="bad", fromTask="task-7") == "no_such_task"


def test_a_template_from_a_task_has_what_belongs_to_no_single_run(real):
    real.call(
        "tasks.create", prompt="fix {issue}", agents=["codex", "gemini-cli"], workers=2,
        requires=["gpu", "git:example.com"], resources={"cpu": 2}, priority=3, retries=1, labels={"a": "b"},
        env={"KEY": "secret"}, agentArgs={"model": "m"},
        network="none", approve="edits", budget={"tokens": 9}, checks={"commands": ["true"]}, onFailure="fail_fast",
        timeoutSeconds=60, trustProject=True, workspace={"caches": ["npm"]},
    )  # fmt: skip
    saved = real.call("templates.save", name="fix", fromTask="task-1", prompt="mend {issue}")
    assert saved.left_out == ["workspace", "env.KEY"]
    assert "secret" not in str(real.sql("select t::text from ado.templates t"))
    start(real, "fix", issue="7")
    before, after = ({name: row[name] for name in row.keys() - DIFFERS} for row in map(dict, tasks(real)))
    assert after.pop("prompt") == "mend 7"
    assert before.pop("prompt") == "fix {issue}"
    assert [name for name in before.pop("requires") if name != "git:example.com"] == after.pop("requires")
    assert before == after


DIFFERS = {"task_id", "created_at", "idempotency_key", "input_digest", "workspace"}


def start(real, name, **variables):
    """Run a template as a program does."""
    task = real.call("templates.get", name=name).task
    for variable, value in variables.items():
        task["prompt"] = task["prompt"].replace(f"{{{variable}}}", value)
    assert not isinstance(real.call("tasks.create", **task), str)


REMOTE = {"url": "https://example.com/x", "commit": "a" * 40, "ref": "refs/heads/main"}


def test_a_template_from_a_task_with_a_pushed_branch_follows_it(real):
    workspace = {"commit": "b" * 40, "branch": "mine", "directory": "below", "push": True, "remote": REMOTE}
    real.call("tasks.create", prompt="x", requires=["git:example.com"], workspace=workspace)
    saved = real.call("templates.save", name="fix", fromTask="task-1")
    assert saved.left_out is UNSET
    add(real, template="fix", variables={})
    put_off(real, SECOND)
    run(real)
    task = tasks(real)[1]
    assert orjson.loads(task["workspace"]) == {
        "branch": "mine", "directory": "below", "push": True, "remote": {"url": REMOTE["url"], "ref": REMOTE["ref"]},
    }  # fmt: skip
    assert task["requires"] == ["git:example.com", "workspace:ref"]


@pytest.mark.parametrize("workspace", [{}, {"fileId": None, "commit": "b" * 40}])
def test_a_template_from_a_task_whose_commit_was_sent_starts_in_an_empty_directory(real, workspace):
    real.call("tasks.create", prompt="x", workspace=workspace)
    saved = real.call("templates.save", name="fix", fromTask="task-1")
    assert saved.task["workspace"] == {}
    assert saved.left_out == (["workspace"] if workspace else UNSET)
    assert real.call("templates.get", name="fix").task["workspace"] == {}


@pytest.mark.parametrize(
    "workspace",
    [
        {"remote": {"url": REMOTE["url"]}},
        {"remote": {"url": REMOTE["url"], "ref": "refs/heads/x"}, "commit": "a" * 40},
        {"remote": {"url": REMOTE["url"], "ref": "refs/heads/x"}, "fileId": "file-" + "0" * 32},
        {"remote": {"url": "https://me:secret@example.com/x", "ref": "refs/heads/x"}},
    ],
)
def test_a_branch_to_follow_is_named_in_full_and_alone(real, workspace):
    for path, value in (("tasks.create", {}), ("templates.save", {"name": "x"})):
        task = {"prompt": "x", "workspace": workspace}
        message, _ = error_of(real, path, **(value | {"task": task} if value else task))
        assert message.startswith("workspace")
        assert "secret" not in message


def test_a_template_from_a_task_with_input_is_refused(real):
    real.call("tasks.create", prompt="cat", agent="shell", stdin=True)
    assert "stdin" in error_of(real, "templates.save", name="cat", fromTask="task-1")[0]


def test_a_template_in_use_is_not_removed(real):
    name = add(real)
    assert "schedule-1" in error_of(real, "templates.remove", name="hi")[0]
    real.call("schedules.remove", scheduleId=name)
    assert real.call("templates.remove", name="hi").name == "hi"
    assert real.call("templates.remove", name="hi") == "no_such_template"


def test_schedules_of_others_are_seen_and_changed_by_operators_alone(real):
    add(real)
    real.be(BOB)
    assert real.call("schedules.list").items == []
    for change in ("pause", "resume", "remove"):
        assert real.call(f"schedules.{change}", scheduleId="schedule-1") == "no_such_schedule"
        assert real.call(f"schedules.{change}", scheduleId="schedule-x") == "no_such_schedule"
    bobs = add(real)
    real.be(ANNA)
    assert {item.schedule_id for item in real.call("schedules.list").items} == {"schedule-1", bobs}
    assert real.call("schedules.pause", scheduleId=bobs).created_by == "bob"


def test_a_developers_schedule_runs_an_operators_template_but_not_the_other_way_round(real):
    real.be(BOB)
    add(real)
    real.call("templates.save", name="bobs", task=TASK)
    real.be(ANNA)
    add(real, template="bobs")
    for number in (1, 2):
        put_off(real, SECOND, schedule_id=f"schedule-{number}")
    run(real)
    assert [(task["created_by"], task["prompt"]) for task in tasks(real)] == [("user-2", "echo me")]
    assert "need not trust" in shown(real, "schedule-2").problem
