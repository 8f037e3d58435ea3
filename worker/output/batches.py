"""Sends events in numbered batches: one at a time, and again until the server acknowledges it.

Events are sent at once; those that come while a batch is in flight make up the next one. A batch keeps its number and
content until it is acknowledged, so the server stores it once even if it arrives twice. ``lease_lost`` ends the
sending, because another worker has the job.

A batch that the server refuses for its content is not sent again unchanged. It is halved until the refused event is
alone. An output event that is too large is halved as well; any other event becomes a ``dropped`` event. A refusal
stores nothing, so the halves can use the batch's number. The size of a batch is the size of its JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from app.rpc.client import CallError, NoAnswer
from app.rpc.client.retry import Failure, is_passing, until_answered_async
from worker.output.buffer import Outbox
from worker.output.wire_events import BATCH_EVENTS, DROPPED, dropped, halves

_log = logging.getLogger("ado.worker")
_BATCH_BYTES = 1024 * 1024
_REFUSED_CONTENT = frozenset({"BAD_REQUEST", "PAYLOAD_TOO_LARGE", "PARSE_ERROR"})
_TOO_LARGE = "limit_exceeded"
_MOST_FAILURES = 120
"""Failures in a row, about three minutes, after which the attempt ends: the server would fail for ever."""

LOST = frozenset({"lease_lost", "no_such_job", "credential_missing"})
"""Reasons of refusals after which an attempt is no longer this worker's."""

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]


class LeaseLost(Exception):
    """The attempt is no longer this worker's."""


async def until_answered(call: Call, path: str, value: dict[str, Any]) -> Any:
    """Send a call, which may arrive twice, until it is answered. Raises LeaseLost, CallError."""
    failures = 0

    def repeats(error: Failure) -> bool:
        nonlocal failures
        if isinstance(error, NoAnswer):
            failures = 0
            return True
        if error.reason in LOST:
            raise LeaseLost from error
        failures = failures + 1 if error.code == "INTERNAL_SERVER_ERROR" else 0
        if not is_passing(error) or failures > _MOST_FAILURES:
            return False
        _log.warning("call is repeated", extra={"path": path, "reason": error.reason})
        return True

    return await until_answered_async(lambda: call(path, value), repeats=repeats)


class BatchSender:
    """Sends the events of an outbox; ``last`` is the number of the last acknowledged batch."""

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
    """Return what to send in place of a refused batch: its halves, or a ``dropped`` event for its only event."""
    if len(events) > 1:
        middle = len(events) // 2
        return [events[:middle], events[middle:]]
    if reason == _TOO_LARGE and (parts := halves(events[0])):
        return [[part] for part in parts]
    _log.warning("event refused", extra={"bytes": len(events[0]), "reason": reason})
    if events[0].startswith(DROPPED):  # a server of an older release does not know this type
        return []
    return [[dropped(len(events[0]), reason).data]]
