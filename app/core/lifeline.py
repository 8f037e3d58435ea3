"""The lifeline: a pipe whose end of file tells a process that the one that started it has gone, however it went.

Several processes share the pipe's read end, and any of them could make it non-blocking for all. So it is watched by
``poll``, which does not care, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
from collections.abc import Callable


def on_end(fd: int, end: Callable[[], object]) -> None:
    """Call ``end`` once, in a thread, when the pipe has no writer any more."""
    threading.Thread(target=_watch, args=(fd, end), name="lifeline", daemon=True).start()


def on_end_in(loop: asyncio.AbstractEventLoop, fd: int, end: Callable[[], object]) -> None:
    """Call ``end`` once, in the event loop, when the pipe has no writer any more."""

    def hand_over() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(end)

    on_end(fd, hand_over)


def _watch(fd: int, end: Callable[[], object]) -> None:
    poll = select.poll()
    poll.register(fd, 0)  # for the end alone, which is told in any case
    poll.poll()
    end()
