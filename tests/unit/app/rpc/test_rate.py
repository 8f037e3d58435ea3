"""A rate with a burst: an event that comes too early is counted, and a flood delays its sender only for a moment."""

from app.rpc.rate import RateLimit


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_burst_is_allowed_and_the_next_event_is_not():
    pace = RateLimit(2, 5, Clock())
    assert [pace.take() for _ in range(5)] == [0] * 5
    assert 0 < pace.take() <= 0.5


def test_elapsed_time_allows_further_events():
    clock = Clock()
    pace = RateLimit(2, 5, clock)
    for _ in range(6):
        pace.take()
    clock.now += 1
    assert pace.remaining() == 0
    assert pace.take() == 0


def test_a_flood_delays_its_sender_by_one_step():
    clock = Clock()
    pace = RateLimit(2, 5, clock)
    for _ in range(100_000):
        pace.take()
    assert pace.remaining() <= 0.5
    clock.now += 0.5
    assert pace.remaining() == 0
