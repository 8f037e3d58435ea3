"""The watchdog names the place where an event loop was blocked."""

import asyncio
import logging
import threading
import time
from types import SimpleNamespace

from app.core.watchdog import watch


def said(caplog):
    return [record for record in caplog.records if record.message == "event loop blocked"]


async def test_code_that_blocks_the_loop_is_named(caplog):
    caplog.set_level(logging.WARNING, "ado.loop")
    watch(0.1)
    await asyncio.sleep(0.05)

    def block_for_a_while():
        time.sleep(0.5)  # not the loop's own way to wait

    named = []
    async with asyncio.timeout(60):
        while not named:  # a busy machine also blocks the loop elsewhere, or lets the watchdog miss this
            block_for_a_while()
            await asyncio.sleep(0.01)
            named = [record for record in said(caplog) if "block_for_a_while" in record.stack]
    record = named[0]
    assert record.seconds > 0.1
    assert record.cpu_seconds < record.seconds


def work(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


async def test_what_the_loop_does_after_its_answer_is_not_counted(caplog, monkeypatch):
    """The watchdog may learn of the answer late, where processors are few."""
    caplog.set_level(logging.WARNING, "ado.loop")
    blocked, more_done = threading.Event(), threading.Event()

    class LateEvent(threading.Event):
        def wait(self, timeout=None):
            return super().wait(timeout) and (not blocked.is_set() or more_done.wait(60))

    late = SimpleNamespace(Event=LateEvent, Thread=threading.Thread, get_ident=threading.get_ident)
    monkeypatch.setattr("app.core.watchdog.threading", late)
    watch(0.1)
    await asyncio.sleep(0)
    began = time.thread_time()
    work(0.3)
    blocked.set()
    await asyncio.sleep(0.01)
    answered = time.thread_time()
    work(0.3)
    more_done.set()
    async with asyncio.timeout(60):
        while not said(caplog):
            await asyncio.sleep(0.01)
    assert said(caplog)[0].cpu_seconds <= answered - began + 0.1


async def test_a_waiting_loop_is_not_reported(caplog):
    caplog.set_level(logging.WARNING, "ado.loop")
    watch(10)  # a busy machine may leave a loop without a processor for a second
    watch(0)
    await asyncio.sleep(1.2)
    assert not said(caplog)
