"""Durations on the command line carry their unit."""

import pytest

from cli.commands.watch import LogSelection, attach, logs
from cli.errors import CliError
from cli.option_values import seconds_of
from cli.run_options import PodOptions, TaskOptions


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


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (PodOptions(cpu=float("nan")), "--cpu nan"),
        (PodOptions(gpu=float("inf")), "--gpu inf"),
        (PodOptions(memory="9" * 400), "more than any machine has"),
        (PodOptions(memory=""), "no amount of memory"),
        (TaskOptions(after=[""]), "--after names no task"),
        (TaskOptions(start_within=""), "is not a duration"),
    ],
)
def test_a_need_or_a_condition_is_never_dropped_because_its_value_makes_no_sense(options, named):
    with pytest.raises(CliError, match=named):
        options.members()


def test_a_number_that_no_computer_holds_is_refused_by_name():
    with pytest.raises(CliError, match="is neither a number nor start"):
        attach("task-1", from_="9" * 5000)
    with pytest.raises(CliError, match="is neither a number nor start"):
        attach("task-1", from_="²")
    with pytest.raises(CliError, match="is more than any log has"):
        logs("task-1", selection=LogSelection(tail=10**20))
