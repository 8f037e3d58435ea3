"""Telling what blocks an event loop: a thread that asks the loop to answer, and looks where it is when it does not."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback

_log = logging.getLogger("ado.loop")
_PATIENCE_SECONDS = 30.0


def watch(seconds: float) -> None:
    """Log ``event loop blocked`` whenever the running loop does not answer for so long; 0: do not.

    The line has the place where the loop's thread was, ``seconds`` by the clock and ``cpu_seconds`` of the thread's own
    work: on a busy machine a loop may have waited for a processor.
    """
    if seconds > 0:
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        threading.Thread(target=_watch, args=(loop, thread, seconds), name="watchdog", daemon=True).start()


def _watch(loop: asyncio.AbstractEventLoop, thread: int, seconds: float) -> None:
    cpu = time.pthread_getcpuclockid(thread)
    while True:
        answered = threading.Event()
        asked_at, cpu_at = time.monotonic(), time.clock_gettime(cpu)
        try:
            loop.call_soon_threadsafe(answered.set)
        except RuntimeError:  # the loop has ended
            return
        if not answered.wait(seconds):
            frame = sys._current_frames().get(thread)  # noqa: SLF001 - there is no other way to see another thread
            stack = traceback.format_stack(frame) if frame is not None else []
            answered.wait(_PATIENCE_SECONDS)
            took, worked = time.monotonic() - asked_at, time.clock_gettime(cpu) - cpu_at
            numbers = {"seconds": round(took, 3), "cpu_seconds": round(worked, 3)}
            _log.warning("event loop blocked", extra={**numbers, "stack": "".join(stack)})
        time.sleep(seconds / 2)
