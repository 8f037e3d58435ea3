"""Numbered batches: one in flight, sent again until acknowledged.

The size of a batch is that of its JSON. What a server refuses for its content is never sent again unchanged: the batch
is halved until the event is alone. Output that is too large for the server is halved as well, any other event becomes a
``dropped`` event. A refusal stores nothing, so the halves may have the batch's number.

Flush at once; what comes while a batch is in flight gathers and is the next one. A batch keeps its number and content
until the server has it, so sending it twice stores it once. ``lease_lost`` ends everything: the attempt is another
worker's now.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from app.rpc.client import CallError, Unreachable
from worker.output.buffer import Outbox
from worker.output.wire_events import BATCH_EVENTS, DROPPED, dropped, halves

_log = logging.getLogger("ado.worker")
_BATCH_BYTES = 1024 * 1024
_PASSING = frozenset({"SERVICE_UNAVAILABLE", "INTERNAL_SERVER_ERROR", "TOO_MANY_REQUESTS", "TIMEOUT"})
_REFUSED_CONTENT = frozenset({"BAD_REQUEST", "PAYLOAD_TOO_LARGE", "PARSE_ERROR"})
_TOO_LARGE = "limit_exceeded"
_LONGEST_PAUSE = 2.0
_MOST_FAILURES = 120
"""A server that has failed so often in a row, for about three minutes, would fail for ever: the attempt must end."""

LOST = frozenset({"lease_lost", "no_such_job", "credential_missing"})
"""Refusals that say that an attempt is no longer this worker's."""

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]


class LeaseLost(Exception):
    """The attempt is no longer this worker's."""


async def until_answered(call: Call, path: str, value: dict[str, Any]) -> Any:
    """Send a call that may arrive twice until it is answered. Raises LeaseLost, CallError."""
    pause = 0.05
    failures = 0
    while True:
        try:
            return await call(path, value)
        except Unreachable:
            failures = 0
        except CallError as error:
            if error.reason in LOST:
                raise LeaseLost from error
            failures = failures + 1 if error.code == "INTERNAL_SERVER_ERROR" else 0
            if error.code not in _PASSING or failures > _MOST_FAILURES:
                raise
            _log.warning("call is repeated", extra={"path": path, "reason": error.reason})
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311
        pause = min(_LONGEST_PAUSE, pause * 2)


class BatchSender:
    """Sends what the outbox holds; ``last`` is the number of the last acknowledged batch."""

    def __init__(self, call: Call, outbox: Outbox, fence: dict[str, Any], batch_events: int = BATCH_EVENTS) -> None:
        self._call = call
        self._batch_events = batch_events
        self._outbox = outbox
        self._fence = fence
        self.last = 0

    async def run(self) -> None:
        """Send until the outbox is closed and empty. Raises LeaseLost, CallError."""
        while events := await self._outbox.take(self._batch_events, _BATCH_BYTES):
            parts = [events]
            while parts:
                part = parts.pop()
                try:
                    await self._append(part)
                except CallError as error:
                    if error.code not in _REFUSED_CONTENT:
                        raise
                    parts += reversed(_smaller(part, error.reason or error.code))

    async def _append(self, events: list[bytes]) -> None:
        fragments = [orjson.Fragment(event) for event in events]
        batch = {**self._fence, "batch": self.last + 1, "events": fragments}
        await until_answered(self._call, "workers.append", batch)
        self.last += 1


def _smaller(events: list[bytes], reason: str) -> list[list[bytes]]:
    """Return what to send in place of a refused batch: its halves, or a ``dropped`` event for its only one."""
    if len(events) > 1:
        middle = len(events) // 2
        return [events[:middle], events[middle:]]
    if reason == _TOO_LARGE and (parts := halves(events[0])):
        return [[part] for part in parts]
    _log.warning("event refused", extra={"bytes": len(events[0]), "reason": reason})
    if events[0].startswith(DROPPED):  # a server of an older release does not know this type
        return []
    return [[dropped(len(events[0]), reason).data]]
