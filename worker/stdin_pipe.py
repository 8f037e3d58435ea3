"""Writes to the stdin of an agent, as fast as the agent reads."""

from __future__ import annotations

import asyncio
import os

from worker.processes.process import KeptProcess


async def write_to_stdin(process: KeptProcess, data: bytes) -> None:
    """Write all of it, waiting for room. Raises BrokenPipeError."""
    view = memoryview(data)
    while view and process.stdin is not None:
        try:
            view = view[os.write(process.stdin, view) :]
        except BlockingIOError:
            await _wait_for_room(process.stdin)


async def _wait_for_room(fd: int) -> None:
    """Wait until a pipe has room, or has no reader."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
