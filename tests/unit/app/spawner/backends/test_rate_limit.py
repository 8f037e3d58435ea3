"""The pace of requests, by a clock of the test's own."""

import threading

import pytest

from app.spawner.backends.rate_limit import Closed, Pace


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def taken(pace):
    count = 0
    while pace.try_take() == 0:
        count += 1
    return count


def test_a_burst_then_a_rate():
    clock = Clock()
    pace = Pace(10, 20, clock)
    assert taken(pace) == 20
    assert pace.try_take() == pytest.approx(0.1)
    clock.now += 0.35
    assert taken(pace) == 3
    clock.now += 3600
    assert taken(pace) == 20


def test_a_pause_stops_everybody_and_leaves_no_burst():
    clock = Clock()
    pace = Pace(10, 20, clock)
    pace.pause(5)
    assert pace.try_take() == 5
    pace.pause(1)  # a shorter one does not end it
    clock.now += 4.9
    assert pace.try_take() == pytest.approx(0.1)
    clock.now += 0.2
    assert taken(pace) == 1


def test_who_waits_gives_up_when_it_is_closed():
    pace = Pace(0.001, 1)
    pace.take()

    def wait():
        with pytest.raises(Closed):
            pace.take()

    waiter = threading.Thread(target=wait)
    waiter.start()
    pace.close()
    waiter.join(10)
    assert not waiter.is_alive()
    with pytest.raises(Closed):
        Pace.take(pace)
