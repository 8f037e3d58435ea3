"""Whom a queue wakes, and who gives way."""

import asyncio

from app.loops.claim_waiters import Parked, Parking, choose
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


async def test_a_claim_gives_way_to_those_that_were_woken_before_it_came():
    parking, shell = Parking(None, None, poll_seconds=60), frozenset({"shell"})
    with parking.place(shell) as first, parking.place(shell) as second, parking.place(frozenset({"gpu"})) as other:
        first.wake()
        other.wake()
        arriving = asyncio.create_task(parking.give_way(second))
        await asyncio.sleep(0)
        assert not arriving.done()
        first.tried.set()
        await arriving


async def test_a_claim_waits_no_longer_than_a_poll_interval_for_others():
    parking, shell = Parking(None, None, poll_seconds=0.01), frozenset({"shell"})
    with parking.place(shell) as first, parking.place(shell) as second:
        first.wake()
        await parking.give_way(second)
        assert not first.tried.is_set()


async def test_others_wait_only_while_they_do_and_offer_the_same():
    parking, shell = Parking(None, None, poll_seconds=60), frozenset({"shell"})
    with parking.place(shell) as first, parking.place(shell) as second, parking.place(frozenset({"gpu"})) as other:
        waiting = [asyncio.create_task(claim.wait(60)) for claim in (first, other)]
        await asyncio.sleep(0)
        assert parking.others_wait(second)
        first.wake()
        await waiting[0]
        assert not parking.others_wait(second)
        other.wake()
        await waiting[1]
