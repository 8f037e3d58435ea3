"""What callers may say of schedules, and which they see."""

import pytest
from msgspec import UNSET
from support.schedules import ANNA, BOB, TASK, add, error_of


def test_nobody_takes_the_key_of_a_schedules_task(real):
    message, _ = error_of(real, "tasks.create", prompt="x", idempotencyKey="schedule-1@2026-01-01T00:00:00+00:00")
    assert "idempotencyKey" in message
    assert real.call("tasks.create", prompt="x", idempotencyKey="schedule-nightly").task_id


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
