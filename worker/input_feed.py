"""Feeds a job's input to its agent: page by page, as fast as the agent reads.

A page is asked for once the one before is in the agent's pipe, by the number of bytes that are in it: so no more than a
page is held here, the connection that all jobs of a worker share never waits for a slow agent, and after a cut the
server goes on where it must. An agent that closes its stdin is sent nothing more. Only the input's end closes the pipe:
whatever keeps the rest from coming must not look like it. Where the server no longer keeps the beginning, the attempt
is stopped.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from app.rpc.client import CallError, Item, Unreachable
from worker.agents.verdict import Outcome
from worker.output.batches import LOST
from worker.processes.process import KeptProcess

_log = logging.getLogger("ado.worker")
_PAGE_BYTES = 256 * 1024
_LONGEST_PAUSE = 2.0


class Subscribe(Protocol):
    """Subscribes to a procedure, see ``app.rpc.client.Client.subscribe``."""

    def __call__(self, path: str, input: Any, /) -> AsyncIterator[Item]:
        """Yield items until the server says that it is over."""


class InputFeed:
    """The input of one attempt."""

    def __init__(
        self,
        process: KeptProcess,
        subscribe: Subscribe,
        fence: Mapping[str, Any],
        stop: Callable[[Outcome], object],
    ) -> None:
        self._process = process
        self._subscribe = subscribe
        self._fence = fence
        self._stop = stop
        self._taken = 0
        self._ended = False

    async def run(self, text: str) -> None:
        """Feed a text and then the input, to its end or until the agent closes its stdin."""
        with contextlib.suppress(BrokenPipeError):
            await self._write(text.encode("utf-8", "surrogateescape"))
            pause = 0.05
            while not self._ended:
                try:
                    await self._page()
                    pause = 0.05
                except Unreachable as error:
                    _log.warning("input waits", extra={"detail": str(error)})
                except CallError as error:
                    if error.reason in LOST:
                        return  # the lease says what comes of the attempt
                    if error.reason == "input_lost":
                        self._stop(Outcome("failed", None, "input_lost", error.message))
                        return
                    _log.warning("input waits", extra={"detail": error.message})
                else:
                    continue
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311
                pause = min(_LONGEST_PAUSE, pause * 2)
        self._process.close_stdin()

    async def _page(self) -> None:
        """Ask for what follows and hand it on."""
        wish = {**self._fence, "offset": self._taken, "maxBytes": _PAGE_BYTES}
        for piece in [item.data async for item in self._subscribe("workers.input", wish)]:
            data = base64.b64decode(piece["data"])[max(0, self._taken - piece["offset"]) :]
            await self._write(data)
            self._taken += len(data)
            self._ended = piece["end"]

    async def _write(self, data: bytes) -> None:
        """Write all of it, waiting for room. Raises BrokenPipeError."""
        view = memoryview(data)
        while view and self._process.stdin is not None:
            try:
                view = view[os.write(self._process.stdin, view) :]
            except BlockingIOError:
                await _room(self._process.stdin)


async def _room(fd: int) -> None:
    """Wait until a pipe takes more, or is read by nobody."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
