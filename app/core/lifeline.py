"""The lifeline: a pipe that shows a process the end of the process that started it, even by SIGKILL.

The kernel closes the write end then. Several processes share the read end, and any of them could make it non-blocking
for all, so a thread watches it by ``poll``, which works in either mode.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
from collections.abc import Callable


def on_end(fd: int, end: Callable[[], object]) -> None:
    """Call ``end`` once, in a thread, when the pipe has no writer left."""
    threading.Thread(target=_watch, args=(fd, end), name="lifeline", daemon=True).start()


def on_end_in(loop: asyncio.AbstractEventLoop, fd: int, end: Callable[[], object]) -> None:
    """Call ``end`` once, in the event loop, when the pipe has no writer left."""

    def hand_over() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(end)

    on_end(fd, hand_over)


def _watch(fd: int, end: Callable[[], object]) -> None:
    poll = select.poll()
    poll.register(fd, 0)  # no events: a hang-up is always reported
    poll.poll()
    end()
