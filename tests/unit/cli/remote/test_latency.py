"""How the clocks of a measurement are compared."""

import pytest

from cli.remote.latency import _clocks, _percentile


def test_the_times_of_a_worker_on_this_machine_are_not_corrected():
    assert _clocks({"workerBehindMs": 900, "replicaBehindMs": 5}, 7, is_same_host=True)[1] == 0


def test_the_correction_adds_the_differences_from_here_to_the_worker():
    clocks, offset = _clocks({"replicaBehindMs": 30.0, "workerBehindMs": 100.0}, 20.0, is_same_host=False)
    assert offset == clocks["correctedMs"] == -50
    assert "+50.0 ms" in clocks["how"]


def test_an_unknown_clock_is_not_corrected_and_reported():
    clocks, offset = _clocks({"replicaBehindMs": 30.0}, 20.0, is_same_host=False)
    assert (offset, clocks["how"]) == (0, "its clock is not known")


@pytest.mark.parametrize(("part", "value"), [(0.5, 51), (0.99, 100), (1, 100)])
def test_a_percentile_is_a_measured_value(part, value):
    assert _percentile([float(number) for number in range(1, 101)], part) == value
