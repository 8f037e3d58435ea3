"""Which waiters a hint wakes."""

import math

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


async def test_a_waiter_knows_which_events_its_hints_have_named():
    hub = Hub()
    with hub.waiting(("e", 1)) as wakeup:
        hub.receive(["e:1:7", "e:2:8", "e:1:5"])
        assert wakeup.seqs == {7, 5}
        hub.receive([f"e:1:{seq}" for seq in range(1000)])
        assert math.inf in wakeup.seqs
        assert len(wakeup.seqs) <= 101
        wakeup.seqs.clear()
        hub.wake_all()
        assert wakeup.seqs == {math.inf}


async def test_a_hint_between_two_waits_is_not_lost():
    hub = Hub()
    with hub.waiting("q") as wakeup:
        hub.receive(["q:1"])
        assert await woken(wakeup)
        assert not await woken(wakeup)


async def test_each_kind_of_hint_wakes_its_waiters():
    hub = Hub()
    for hint, key in (
        ("w:w1", ("w", "w1")),
        ("h:1", ("h", "1")),
        ("i:task-1/0", ("i", "task-1/0")),
        ("a:7", ("a", "7")),
    ):
        with hub.waiting(key) as wakeup, hub.waiting((key[0], "other")) as other:
            hub.receive([hint])
            assert [await woken(waiter) for waiter in (wakeup, other)] == [True, False]


async def test_hints_about_answers_input_and_probes_wake_no_system_watcher():
    hub = Hub()
    with hub.waiting("s") as system:
        for hint, expected in (("a:7", False), ("h:1", False), ("i:task-1/0", False), ("w:w1", True), ("q:1", True)):
            hub.receive([hint])
            assert await woken(system) is expected


async def test_a_waiter_that_has_gone_is_forgotten():
    hub = Hub()
    with hub.waiting(("w", "w1"), "q"):
        assert hub.anybody_for("w")
        with hub.waiting(("w", "w1")):
            pass
        assert hub.anybody_for("w")
        assert not hub.anybody_for("w1")
        assert not hub.anybody_for("q")
    assert not hub.anybody_for("w")
    assert not hub._waiters


async def test_a_wait_ends_at_its_time():
    with Hub().waiting("q") as wakeup:
        assert not await wakeup.wait(-1)
        assert not await wakeup.wait(0.001)
