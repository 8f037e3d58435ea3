"""Feeds a job's input to its agent: page by page, as fast as the agent reads.

The next page is requested once the last one is in the agent's pipe, by the number of bytes written so far. So the
worker holds one page at most, a slow agent does not block the connection that all jobs share, and after a lost
connection the server continues at the right byte. If the agent closes its stdin, nothing more is sent. Only the end of
the input closes the pipe: an agent must not take an error for the end. If the server no longer has the bytes, the
attempt is stopped.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from app.rpc.backoff import Backoff
from app.rpc.client import CallError, Item, NoAnswer
from worker.agents.verdict import Outcome
from worker.output.batches import LOST
from worker.processes.process import KeptProcess
from worker.stdin_pipe import write_to_stdin

_log = logging.getLogger("ado.worker")
_PAGE_BYTES = 256 * 1024


class Subscribe(Protocol):
    """Subscribes to a procedure, see ``app.rpc.client.Client.subscribe``."""

    def __call__(self, path: str, input: Any, /) -> AsyncIterator[Item]:
        """Yield items until the server ends the subscription."""


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
        self._written = 0
        self._ended = False

    async def run(self, text: str) -> None:
        """Write a text and then the input, to its end or until the agent closes its stdin."""
        with contextlib.suppress(BrokenPipeError):
            await write_to_stdin(self._process, text.encode("utf-8", "surrogateescape"))
            backoff = Backoff()
            while not self._ended:
                try:
                    await self._feed_page()
                    backoff.reset()
                except NoAnswer as error:
                    _log.warning("input waits", extra={"detail": str(error)})
                except CallError as error:
                    if error.reason in LOST:
                        return  # the heartbeat ends the attempt
                    if error.reason == "input_lost":
                        self._stop(Outcome("failed", None, "input_lost", error.message))
                        return
                    _log.warning("input waits", extra={"detail": error.message})
                else:
                    continue
                await asyncio.sleep(backoff.next())
        self._process.close_stdin()

    async def _feed_page(self) -> None:
        """Request the next page and write it."""
        page = {**self._fence, "offset": self._written, "maxBytes": _PAGE_BYTES}
        for piece in [item.data async for item in self._subscribe("workers.input", page)]:
            data = base64.b64decode(piece["data"])[max(0, self._written - piece["offset"]) :]
            await write_to_stdin(self._process, data)
            self._written += len(data)
            self._ended = piece["end"]
