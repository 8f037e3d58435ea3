"""What keeps a due time from running, how that is shown, and when it is tried again."""

import pytest
from support.schedules import ANNA, BOB, MINUTE, SECOND, TASK, add, now, put_off, run, shown, tasks

from db.tokens import TokenRow

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
    assert (schedule.runs, schedule.problem, schedule.retry_at) == (1, None, None)


def test_tries_after_failures_are_ever_rarer(real):
    add(real)
    put_off(real, SECOND)
    real.sql("update ado.users set disabled_at = now() where user_id = 1")
    for seconds in (5, 10, 20, 40, 80, 160, 300, 300, 300):
        real.sql("update ado.schedules set retry_at = null")
        before = now(real)
        real.run(real.scheduler.step())
        after = now(real)
        (retry_at,) = real.sql("select retry_at from ado.schedules")[0]
        assert before + seconds * SECOND < retry_at < after + seconds * SECOND


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
