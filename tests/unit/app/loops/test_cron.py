"""The times of cron expressions: by the clock of a zone, over both changes of it, and refused ones."""

import contextlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.loops.cron import CronRefused, missed_times, next_after

PRAGUE = "Europe/Prague"
SPRING, AUTUMN = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)
"""The middays before the clocks of Prague change, at 1:00 UTC."""


def times(expression, after, count, timezone=PRAGUE):
    found = []
    for _ in range(count):
        after = next_after(expression, timezone, after)
        found.append(f"{after:%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["29 01:00", "30 00:30"]),  # 2:30 is left out: it runs at 3:00, when the gap ends
        ("0,30 2 * * *", ["29 01:00", "30 00:00"]),
        ("0 30 2 * * *", ["29 01:00", "30 00:30"]),
        ("0 3 * * *", ["29 01:00", "30 01:00"]),
        ("30 1-3 * * *", ["29 00:30", "29 01:00", "29 01:30"]),
    ],
)
def test_a_time_that_spring_leaves_out_runs_when_the_gap_ends(expression, expected):
    assert times(expression, SPRING, len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["25 00:30", "26 01:30"]),
        ("0 30 2 * * *", ["25 00:30", "26 01:30"]),
        ("0 3 * * *", ["25 02:00", "26 02:00"]),
        ("*/30 2 * * *", ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "26 01:00"]),
    ],
)
def test_a_time_that_autumn_has_twice_runs_once_unless_it_follows_the_clock(expression, expected):
    assert times(expression, AUTUMN, len(expected)) == expected


def test_an_hourly_time_runs_every_hour_of_both_nights():
    for night in (SPRING, AUTUMN):
        after = night
        found = [after := next_after("15 * * * *", PRAGUE, after) for _ in range(30)]
        assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(hours=1)}


def test_the_second_of_two_equal_hours_is_after_the_first():
    within = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 2:10 for the second time
    assert times("30 2 * * *", within, 1) == ["26 01:30"]
    assert times("5 2 * * *", within, 1) == ["26 01:05"]


def test_a_leap_day_and_the_last_day_of_a_month_are_found():
    assert next_after("0 0 29 2 *", "UTC", SPRING) == datetime(2028, 2, 29, tzinfo=UTC)
    assert next_after("0 0 L 2 *", "UTC", SPRING) == datetime(2027, 2, 28, tzinfo=UTC)


@pytest.mark.parametrize("expression", ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "1 0 0 31 4 *"])
def test_an_expression_that_never_comes_is_refused_as_such(expression):
    with pytest.raises(CronRefused, match="never comes"):
        next_after(expression, PRAGUE, SPRING)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "@daily",
        "a b c d e",
        "٣ * * * *",
        "0 0 0 * *",
        "* * * 13 *",
        "\0 * * * *",
        "1" * 201,
        "0\n0 * * *",
    ],
)
def test_bad_expressions_are_refused_with_an_example(expression):
    with pytest.raises(CronRefused, match="is not a cron expression") as caught:
        next_after(expression, PRAGUE, SPRING)
    assert caught.value.field == "cron"
    assert "example" in caught.value.next_step


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Europe",
        "Europe/Praha",
        "../../etc/passwd",
        "/etc/localtime",
        "Europe/Prague\0",
        "x" * 5000,
        "Europe//Prague",
    ],
)
def test_unknown_time_zones_are_refused(zone):
    with pytest.raises(CronRefused, match="no time zone") as caught:
        next_after("0 3 * * *", zone, SPRING)
    assert caught.value.field == "timezone"


@given(
    expression=st.from_regex(r"([0-9*/,\-LW#JANMO]{1,4} ){4,5}[0-9*/,\-LW#SUNT]{1,4}", fullmatch=True),
    zone=st.sampled_from([PRAGUE, "UTC", "America/St_Johns", "Australia/Lord_Howe"]),
    seconds=st.integers(0, 10 * 365 * 86_400),
)
def test_a_next_time_is_later_or_the_expression_is_refused(expression, zone, seconds):
    after = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    with contextlib.suppress(CronRefused):
        assert next_after(expression, zone, after) > after


def test_missed_times_are_counted_to_the_first_that_is_not():
    due = datetime(2026, 1, 1, tzinfo=UTC)
    until = due + timedelta(minutes=10, seconds=30)
    count, last, following = missed_times("* * * * *", "UTC", due, until, 1000)
    assert (count, last, following) == (11, due + timedelta(minutes=10), due + timedelta(minutes=11))


def test_a_week_of_missed_seconds_is_counted_up_to_a_bound():
    due = datetime(2026, 1, 1, tzinfo=UTC)
    until = due + timedelta(days=7, microseconds=1)
    count, last, following = missed_times("* * * * * *", PRAGUE, due, until, 1000)
    assert (count, last) == (1000, due + timedelta(seconds=999))
    assert following == due + timedelta(days=7, seconds=1)
