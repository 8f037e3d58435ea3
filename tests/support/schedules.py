"""Templates and schedules of a replica, and the passing of their times."""

from datetime import UTC, timedelta

import pytest

from app.rpc.errors import ProcedureError
from db.tokens import TokenRow

TASK = {"prompt": "echo {who}", "agent": "shell"}
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def user(number, role="developer"):
    return TokenRow(f"tok-{number}", role, None, None, None, None, None, None, True, number, f"user{number}", "laptop")


ANNA, BOB = user(1, "operator"), user(2)


def error_of(real, path, **value):
    """Return the message and the next step of a refusal."""
    procedure = real.procedures[path]
    with pytest.raises(ProcedureError) as caught:
        real.run(procedure.handler(real.context, *procedure.decode(value)))
    return caught.value.message, caught.value.hint


def add(real, cron=None, **values):
    """Add a schedule; without an expression its next time is half a day away, so that none comes during the test."""
    cron = cron or f"0 {(now(real).astimezone(UTC).hour + 12) % 24} * * *"
    added = real.call("schedules.add", **{"cron": cron, "template": "hi", "variables": {"who": "me"}, **values})
    assert not isinstance(added, str), added
    return added.schedule_id


def now(real):
    return real.sql("select now()")[0][0]


def put_off(real, by, *, schedule_id="schedule-1"):
    """Set the next time of a schedule to ``by`` before now, at a whole second; return it."""
    return put_off_to(real, now(real).replace(microsecond=0) - by, schedule_id=schedule_id)


def put_off_to(real, due, *, schedule_id="schedule-1"):
    """Set the next time of a schedule; return it."""
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
