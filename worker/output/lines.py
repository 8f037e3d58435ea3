"""Lines of a pipe, read without blocking the event loop and in bounded memory."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator

_READ_BYTES = 64 * 1024
_TURN_SECONDS = 0.01


class LoopTurn:
    """A turn of the event loop, which ends when it has taken too long."""

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + _TURN_SECONDS

    async def give(self) -> None:
        """Let other tasks run if this turn has taken too long."""
        if time.monotonic() > self._ends_at:
            await asyncio.sleep(0)
            self._ends_at = time.monotonic() + _TURN_SECONDS


async def bounded_lines(fd: int, limit: int) -> AsyncGenerator[tuple[bytes | None, int]]:
    """Yield a pipe's lines with their sizes; None in place of one that is longer than ``limit``. Closes the pipe."""
    os.set_blocking(fd, False)
    turn, held = LoopTurn(), bytearray()
    skipped = 0  # bytes of a too long line that were read and not kept
    try:
        while data := await read_available(fd, _READ_BYTES):
            *ended, rest = data.split(b"\n")
            for piece in ended:
                await turn.give()
                size = skipped + len(held) + len(piece)
                yield (None if size > limit else bytes(held) + piece), size
                held.clear()
                skipped = 0
            if skipped + len(held) + len(rest) > limit:
                skipped += len(held) + len(rest)
                held.clear()
            else:
                held += rest
        if size := skipped + len(held):
            yield (None if skipped else bytes(held)), size
    finally:
        os.close(fd)


async def read_available(fd: int, size: int) -> bytes:
    """Wait for data in a non-blocking pipe and return up to ``size`` bytes; empty at its end of file."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            readable = asyncio.Event()
            loop.add_reader(fd, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(fd)
