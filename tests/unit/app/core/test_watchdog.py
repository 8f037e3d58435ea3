"""The watchdog names the place where an event loop was blocked."""

import asyncio
import logging
import time

from app.core.watchdog import watch


def said(caplog):
    return [record for record in caplog.records if record.message == "event loop blocked"]


async def test_code_that_blocks_the_loop_is_named(caplog):
    caplog.set_level(logging.WARNING, "ado.loop")
    watch(0.1)
    await asyncio.sleep(0.05)

    def block_for_a_while():
        time.sleep(0.5)  # not the loop's own way to wait

    block_for_a_while()
    async with asyncio.timeout(20):
        while not said(caplog):
            await asyncio.sleep(0.01)
    record = said(caplog)[0]
    assert "block_for_a_while" in record.stack
    assert record.seconds > 0.1
    assert record.cpu_seconds < record.seconds


async def test_a_waiting_loop_is_not_reported(caplog):
    caplog.set_level(logging.WARNING, "ado.loop")
    watch(0.5)
    watch(0)
    await asyncio.sleep(1.2)
    assert not said(caplog)
