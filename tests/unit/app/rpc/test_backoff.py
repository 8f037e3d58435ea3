"""Pauses that grow up to a limit, and are partly up to chance."""

from app.rpc.backoff import Backoff


def test_each_pause_is_twice_as_long_up_to_the_longest():
    backoff = Backoff(0.1, 0.5, jitter=0)
    assert [backoff.next() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]


def test_a_success_resets_the_pause():
    backoff = Backoff(0.1, 2.0, jitter=0)
    backoff.next()
    backoff.next()
    backoff.reset()
    assert backoff.next() == 0.1


def test_jitter_shortens_a_pause_by_at_most_its_share():
    pauses = [Backoff(1.0, 1.0).next() for _ in range(200)]
    assert 0.5 <= min(pauses) < max(pauses) <= 1.0
    assert min(Backoff(1.0, 1.0, jitter=1).next() for _ in range(200)) < 0.5
