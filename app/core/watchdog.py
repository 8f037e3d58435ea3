"""A watchdog for the event loop: a thread that logs the loop's stack when it does not answer."""

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
    """Log ``event loop blocked`` whenever the running loop does not answer for so many seconds; 0 turns it off.

    The line has the stack of the loop's thread, the elapsed ``seconds``, and the thread's ``cpu_seconds``: on a busy
    machine a loop may only have waited for a processor.
    """
    if seconds > 0:
        loop, thread = asyncio.get_running_loop(), threading.get_ident()
        threading.Thread(target=_watch, args=(loop, thread, seconds), name="watchdog", daemon=True).start()


def _watch(loop: asyncio.AbstractEventLoop, thread: int, seconds: float) -> None:
    cpu = time.pthread_getcpuclockid(thread)
    while True:
        answer = _Answer()
        started_at, cpu_started_at = time.monotonic(), time.clock_gettime(cpu)
        try:
            loop.call_soon_threadsafe(answer.give)
        except RuntimeError:  # the loop has ended
            return
        if not answer.given.wait(seconds):
            frame = sys._current_frames().get(thread)  # noqa: SLF001 - there is no other way to see another thread
            stack = traceback.format_stack(frame) if frame is not None else []
            if not answer.given.wait(_PATIENCE_SECONDS):
                answer.at, answer.cpu_at = time.monotonic(), time.clock_gettime(cpu)
            numbers = {
                "seconds": round(answer.at - started_at, 3),
                "cpu_seconds": round(answer.cpu_at - cpu_started_at, 3),
            }
            _log.warning("event loop blocked", extra={**numbers, "stack": "".join(stack)})
        time.sleep(seconds / 2)


class _Answer:
    """When the loop answered. The loop notes it, because this thread may learn it much later, and the loop goes on."""

    def __init__(self) -> None:
        self.given = threading.Event()
        self.at = self.cpu_at = 0.0

    def give(self) -> None:
        self.at, self.cpu_at = time.monotonic(), time.thread_time()
        self.given.set()
