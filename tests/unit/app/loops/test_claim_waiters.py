"""Which waiting claims the queue wakes, and which claims let others go first."""

import asyncio
from contextlib import ExitStack, contextmanager

import pytest

from app.log.hub import Hub
from app.loops.claim_waiters import ClaimWaiters, WaitingClaim, choose
from db.model import Demand, ResourceAmounts

SHELL = frozenset({"shell"})
GPU = frozenset({"gpu"})


class QueueRead(Exception):
    pass


class QueueThatMayNotBeRead:
    async def many(self, *_, **__):
        raise QueueRead


def demand(jobs, *needs):
    return Demand(frozenset(needs), ResourceAmounts(), jobs)


@contextmanager
def claims(waiters, *capabilities):
    """Join one claim for each set of capabilities."""
    with ExitStack() as stack:
        joined = [stack.enter_context(waiters.joined()) for _ in capabilities]
        for claim, its_capabilities in zip(joined, capabilities, strict=True):
            claim.capabilities = its_capabilities
        yield joined


def test_a_hint_wakes_as_many_claims_as_jobs_in_order_of_waiting():
    waiting = [WaitingClaim(SHELL) for _ in range(5)]
    assert choose(waiting, [demand(2, "shell")]) == waiting[:2]


def test_each_matching_claim_is_woken_once():
    shell, both = WaitingClaim(SHELL), WaitingClaim(SHELL | GPU)
    assert choose([shell, both], [demand(5, "gpu"), demand(5, "shell")]) == [both, shell]
    assert choose([shell], [demand(5, "gpu")]) == []


async def test_a_new_claim_yields_to_similar_claims_that_were_woken_earlier():
    waiters = ClaimWaiters(None, None, poll_seconds=60)
    with claims(waiters, SHELL, SHELL, GPU) as (first, second, other):
        first.wake()
        other.wake()
        arriving = asyncio.create_task(waiters.yield_to_woken(second))
        await asyncio.sleep(0)
        assert not arriving.done()
        first.retried.set()
        await arriving


async def test_a_claim_yields_no_longer_than_a_poll_interval():
    waiters = ClaimWaiters(None, None, poll_seconds=0.01)
    with claims(waiters, SHELL, SHELL) as (first, second):
        first.wake()
        await waiters.yield_to_woken(second)
        assert not first.retried.is_set()


async def test_other_claims_wait_while_a_similar_claim_waits():
    waiters = ClaimWaiters(None, None, poll_seconds=60)
    with claims(waiters, SHELL, SHELL, GPU) as (first, second, other):
        waiting = [asyncio.create_task(waiters.wait(claim, 60)) for claim in (first, other)]
        await asyncio.sleep(0)
        assert waiters.others_wait(second)
        first.wake()
        await waiting[0]
        assert not waiters.others_wait(second)
        other.wake()
        await waiting[1]


async def test_a_woken_claim_moves_behind_the_others():
    """While it still tries, the next job wakes another claim."""
    waiters = ClaimWaiters(None, None, poll_seconds=60)
    with claims(waiters, SHELL, SHELL) as (first, second):
        first.wake()
        await waiters.wait(first, 60)
        assert choose(list(waiters._claims), [demand(1, "shell")]) == [second]
        await waiters.wait(second, 0)
        assert choose(list(waiters._claims), [demand(1, "shell")]) == [first]


async def test_a_hint_wakes_a_lone_claim_once_without_a_look_at_the_queue():
    hub = Hub()
    waiters = ClaimWaiters(QueueThatMayNotBeRead(), hub, poll_seconds=60)
    with claims(waiters, SHELL) as (claim,):
        watching = asyncio.create_task(waiters.watch())
        await asyncio.sleep(0)
        waiting = asyncio.create_task(waiters.wait(claim, 60))
        await asyncio.sleep(0)
        hub.wake("q")
        async with asyncio.timeout(60):
            await waiting
        again = asyncio.create_task(waiters.wait(claim, 60))
        hub.wake("q")
        with pytest.raises(QueueRead):
            await watching
        again.cancel()


@pytest.mark.parametrize(
    ("capabilities", "is_waiting", "count"),
    [(SHELL, False, 1), (frozenset(), True, 1), (SHELL, True, 2)],
    ids=["it tries", "it may not take from the queue", "there are others"],
)
def test_a_hint_wakes_a_claim_only_after_a_look_at_the_queue(capabilities, is_waiting, count):
    waiters = ClaimWaiters(None, None, poll_seconds=60)
    with claims(waiters, *[capabilities] * count) as joined:
        for claim in joined:
            claim.is_waiting = is_waiting
        assert not waiters._wake_alone()
        assert not any(claim.woken.is_set() for claim in joined)
