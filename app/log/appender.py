"""Stores the appends of many workers by group commit: one commit per flush; its hints are joined.

A task always uses the same lane. So only one flush of its events is in flight, and readers see them in order.
An append is acknowledged when its commit is durable. The waiting bytes are bounded. Beyond the bound ``append`` waits,
which slows down the workers and, through their pipes, the agents. When the database does not answer, the worker sends
its batch again; a batch that was stored after all is recognised by its number.
"""

from __future__ import annotations

import asyncio

from app.log import live
from app.metrics import instruments
from db import events
from db.database import Database
from db.events import Batch
from db.group_commit import GroupCommit

_FLUSH_BATCHES = 200  # the hints of one flush must fit a notification, which takes 8000 bytes
_FLUSH_BYTES = 8 * 1024 * 1024
_EVENT_BYTES = 100  # of an event besides its content
OTHER_BYTES = 1024 * 1024
"""Bytes of other events that are still stored once an attempt's output is cut: they show how the attempt goes on."""


class Appender:
    """Stores batches; one per replica."""

    def __init__(self, db: Database, *, lanes: int, lease_seconds: float, byte_limit: int, output_limit: int) -> None:
        self._db = db
        self._lease_seconds = lease_seconds
        self._byte_limit = byte_limit
        self._output_limit = output_limit
        self._bytes = 0
        self._room = asyncio.Event()
        self._lanes = [GroupCommit(self._store, max_items=_FLUSH_BATCHES, max_size=_FLUSH_BYTES) for _ in range(lanes)]

    async def append(self, batch: Batch) -> bool:
        """Store a batch durably; False when the fence or the limit refused it. Raises DatabaseUnavailable."""
        size = _size(batch)
        while self._bytes and self._bytes + size > self._byte_limit:
            self._room.clear()
            await self._room.wait()
        self._bytes += size
        instruments.APPEND_WAITING_BYTES.inc(size)
        lane = self._lanes[batch.task_id % len(self._lanes)]
        stored = lane.submit(batch, (batch.task_id, batch.job), size=size)
        stored.add_done_callback(lambda _: self._release(size))
        with instruments.APPEND_SECONDS.time():
            return await asyncio.shield(stored)  # a caller that goes away must not free its room before the commit

    def _release(self, size: int) -> None:
        self._bytes -= size
        instruments.APPEND_WAITING_BYTES.dec(size)
        self._room.set()

    async def _store(self, batches: list[Batch]) -> list[bool]:
        instruments.FLUSH_EVENTS.observe(sum(len(batch.events) for batch in batches))
        instruments.FLUSH_BYTES.observe(sum(map(_size, batches)))
        limit = self._output_limit
        limits = {"output_limit": limit, "event_limit": limit + OTHER_BYTES}
        if len(batches) > 1:
            return await events.append_all(self._db, batches, self._lease_seconds, **limits)
        (batch,) = batches
        return [await events.append(self._db, batch, self._lease_seconds, **limits, live=live.pack(batch))]

    async def close(self) -> None:
        """Drop the batches that are not stored."""
        for lane in self._lanes:
            await lane.close()


def _size(batch: Batch) -> int:
    """Return about how many bytes a batch takes in memory and in the statement."""
    return sum(len(event.data or b"") + len(event.body or "") + _EVENT_BYTES for event in batch.events)
