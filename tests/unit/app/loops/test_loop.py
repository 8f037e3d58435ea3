"""Background loops: one that ends by itself is started again; one that its owner cancels ends."""

import asyncio
from functools import partial

import pytest

from app.loops import loop
from app.loops.loop import every, for_ever
from app.rpc.backoff import Backoff
from db.errors import DatabaseUnavailable

ENDS = [None, ZeroDivisionError("driver"), asyncio.CancelledError(), DatabaseUnavailable("away"), TimeoutError()]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(loop, "_LONGEST_PAUSE_SECONDS", 0.0)


def ending(started, end):
    async def run():
        started.append(1)
        if end is not None and len(started) < 4:
            raise end
        if len(started) >= 4:
            await asyncio.Event().wait()

    return run


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
async def test_a_loop_that_ends_is_restarted_until_it_is_cancelled(quick, caplog, end):
    started = []
    task = asyncio.create_task(for_ever(ending(started, end), name="x"))
    async with asyncio.timeout(60):
        while len(started) < 4:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert len(started) == 4
    assert caplog.text.count("loop ended; starting it again") == 3


async def test_a_failed_step_is_tried_again(quick):
    steps = []

    async def step():
        steps.append(1)
        raise ZeroDivisionError

    task = asyncio.create_task(every(0, step, name="x"))
    async with asyncio.timeout(60):
        while len(steps) < 3:
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_step_without_an_interval_pauses_longer_after_each_failure_until_one_succeeds(monkeypatch):
    pauses, outcomes = [], iter(["failed", "failed", "failed", "done", "failed"])

    async def sleep(seconds):
        pauses.append(seconds)

    async def step():
        if next(outcomes, None) == "failed":
            raise DatabaseUnavailable("away")
        if len(pauses) == 5:
            raise asyncio.CancelledError

    monkeypatch.setattr(loop.asyncio, "sleep", sleep)
    monkeypatch.setattr(loop, "Backoff", partial(Backoff, jitter=0))
    with pytest.raises(asyncio.CancelledError):
        await every(0, step, name="x")
    assert pauses == [0.1, 0.2, 0.4, 0.0, 0.1]
