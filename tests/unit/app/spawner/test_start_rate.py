"""Starting workers again after some that ended at once."""

import pytest

from app.spawner.backends.base import EndedWorker
from app.spawner.start_rate import StartRate


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def starts(clock):
    return StartRate(lambda: clock[0])


def test_any_number_may_start_at_first(starts):
    assert starts.allowed() > 1000
    assert StartRate(lambda: 0.0).allowed() > 1000  # the clock of a machine that has just booted


def test_a_worker_that_ended_ten_seconds_after_its_start_counts_as_a_failure(starts):
    starts.record(EndedWorker("w", 10.0, 2))
    assert starts.allowed() == 0


def test_each_failure_doubles_the_pause_and_one_is_tried_after_it(starts, clock):
    pauses = []
    for _ in range(8):
        starts.record(EndedWorker("w", 0.5, 2))
        began = clock[0]
        while not starts.allowed():
            clock[0] += 0.5
        assert starts.allowed() == 1
        pauses.append(clock[0] - began)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_failures_of_one_start_count_once(starts, clock):
    for _ in range(8):
        starts.record(EndedWorker("w", 0.5, 2))
    clock[0] += 1
    assert starts.allowed() == 1


@pytest.mark.parametrize("gone", [EndedWorker("w", 0.5, 0), EndedWorker("w", 60.0, -9)])
def test_a_worker_that_ran_resets_the_count(starts, clock, gone):
    starts.record(EndedWorker("w", 0.5, 2))
    clock[0] += 1
    starts.record(gone)
    assert starts.allowed() > 1000
