"""A worker keeps to what its server takes."""

from worker.server_limits import ServerLimits


def test_a_server_that_takes_less_is_sent_less():
    assert ServerLimits.of({"eventBytes": 1000, "batchEvents": 10}) == ServerLimits(1000, 10)


def test_a_server_that_takes_more_is_sent_no_more():
    assert ServerLimits.of({"eventBytes": 1 << 30, "batchEvents": 1 << 30}) == ServerLimits()


def test_a_server_of_an_older_release_does_not_say():
    assert ServerLimits.of({}) == ServerLimits()
