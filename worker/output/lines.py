"""Lines of a pipe, read without blocking the event loop and in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
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


async def lines(fd: int, limit: int) -> AsyncGenerator[bytes]:
    """Yield a pipe's lines with their line ends; one longer than ``limit`` comes in parts. Closes the pipe."""
    os.set_blocking(fd, False)
    turn, held = LoopTurn(), bytearray()
    try:
        while data := await read_available(fd, _READ_BYTES):
            *ended, rest = data.split(b"\n")  # only new data is searched, so a long line takes linear time
            for piece in ended:
                await turn.give()
                yield bytes(held) + piece + b"\n"
                held.clear()
            held += rest
            if len(held) > limit:
                yield bytes(held)
                held.clear()
        if held:
            yield bytes(held)
    finally:
        os.close(fd)


async def bounded_lines(fd: int, limit: int) -> AsyncGenerator[tuple[bytes | None, int]]:
    """Yield a pipe's lines with their sizes; None in place of one that is longer than ``limit``. Closes the pipe."""
    size = 0
    async with contextlib.aclosing(lines(fd, limit)) as parts:
        async for part in parts:
            size += len(part)
            if part.endswith(b"\n"):
                yield (None if size - 1 > limit else part[:-1]), size - 1
                size = 0
        if size:
            yield (None if size > limit else part), size


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
