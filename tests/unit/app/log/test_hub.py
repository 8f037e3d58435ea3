"""Which waiters a hint wakes."""

from app.log.hub import Hub


async def woken(wakeup):
    return await wakeup.wait(0)


async def test_a_gap_wakes_every_waiter():
    hub = Hub()
    keys = [("e", 1), ("e", 1), ("e", 2), ("w", "w1"), "q", "s"]
    contexts = [hub.waiting(key) for key in keys]
    waiters = [context.__enter__() for context in contexts]
    hub.wake_all()
    assert [await woken(waiter) for waiter in waiters] == [True] * len(keys)
    assert [await woken(waiter) for waiter in waiters] == [False] * len(keys)


async def test_a_hint_wakes_its_waiters_and_the_system_watchers():
    hub = Hub()
    with hub.waiting(("e", 1)) as first, hub.waiting(("e", 2)) as second, hub.waiting("s") as system:
        hub.receive(["e:1:7"])
        assert [await woken(waiter) for waiter in (first, second, system)] == [True, False, True]


async def test_a_hint_between_two_waits_is_not_lost():
    hub = Hub()
    with hub.waiting("q") as wakeup:
        hub.receive(["q:1"])
        assert await woken(wakeup)
        assert not await woken(wakeup)
