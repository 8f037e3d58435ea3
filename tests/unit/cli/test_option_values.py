"""Durations on the command line carry their unit."""

import pytest

from cli.errors import CliError
from cli.option_values import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30d", 2_592_000), ("12h", 43_200), ("10m", 600), ("5s", 5), ("0.5s", 0.5), ("1h30m", 5400), ("10000d", 864e6)],
)
def test_a_duration_is_a_number_with_its_unit(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", "0", "1.5"])
def test_a_number_without_a_unit_is_refused_with_suggestions(text):
    with pytest.raises(CliError, match="has no unit") as caught:
        seconds_of(text)
    assert f"{text}d" in caught.value.next_step


@pytest.mark.parametrize("text", ["", "h", "-5s", "5 s", "5S", "1e3s", "٣s", "5sx", "nan", "infd", "1h 30m"])
def test_an_invalid_duration_is_refused(text):
    with pytest.raises(CliError, match="is not a duration"):
        seconds_of(text)


@pytest.mark.parametrize("text", ["10001d", "9" * 400 + "s"])
def test_a_duration_beyond_the_range_of_a_clock_is_refused(text):
    with pytest.raises(CliError, match="too long"):
        seconds_of(text)
