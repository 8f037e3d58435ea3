"""Whom a queue wakes."""

from app.control.parking import Parked, choose
from db.model import Demand, Resources


def demand(jobs, *needs):
    return Demand(frozenset(needs), Resources(), jobs)


def test_as_many_are_woken_as_there_are_jobs_the_longest_parked_first():
    parked = [Parked(frozenset({"shell"})) for _ in range(5)]
    assert choose(parked, [demand(2, "shell")]) == parked[:2]


def test_only_those_that_match_are_woken_and_none_twice():
    shell, both = Parked(frozenset({"shell"})), Parked(frozenset({"shell", "gpu"}))
    assert choose([shell, both], [demand(5, "gpu"), demand(5, "shell")]) == [both, shell]
    assert choose([shell], [demand(5, "gpu")]) == []
