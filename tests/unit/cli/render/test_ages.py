"""Ages for people."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.render.ages import ago

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s ago"), (0, "0 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (3599, "59 min ago"), (3600, "1 h ago"),
        (86_399, "23 h ago"), (86_400, "1 d ago"), (864e5, "1000 d ago"),
    ],
)  # fmt: skip
def test_an_age_has_one_unit(seconds, text):
    assert ago((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text


def test_the_time_of_the_wire_may_be_in_any_zone():
    assert ago("2026-11-26T13:00:00+02:00", NOW) == "1 h ago"
    assert ago("2026-11-26T11:00:00.123456Z", NOW) == "59 min ago"
