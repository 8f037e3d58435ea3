"""The bucket of requests, by a clock of the test's own."""

import threading

import pytest

from app.spawner.backends.rate_limit import SpawnerStopping, TokenBucket


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def taken(bucket):
    count = 0
    while bucket.try_take() == 0:
        count += 1
    return count


def test_a_burst_then_a_rate():
    clock = Clock()
    bucket = TokenBucket(10, 20, clock)
    assert taken(bucket) == 20
    assert bucket.try_take() == pytest.approx(0.1)
    clock.now += 0.35
    assert taken(bucket) == 3
    clock.now += 3600
    assert taken(bucket) == 20


def test_a_pause_stops_all_callers_and_removes_the_burst():
    clock = Clock()
    bucket = TokenBucket(10, 20, clock)
    bucket.pause(5)
    assert bucket.try_take() == 5
    bucket.pause(1)  # a shorter one does not end it
    clock.now += 4.9
    assert bucket.try_take() == pytest.approx(0.1)
    clock.now += 0.2
    assert taken(bucket) == 1


def test_a_waiting_caller_stops_when_the_limit_is_closed():
    bucket = TokenBucket(0.001, 1)
    bucket.take()

    def wait():
        with pytest.raises(SpawnerStopping):
            bucket.take()

    waiter = threading.Thread(target=wait)
    waiter.start()
    bucket.close()
    waiter.join(60)
    assert not waiter.is_alive()
    with pytest.raises(SpawnerStopping):
        TokenBucket.take(bucket)
