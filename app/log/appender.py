"""Group commit: appends of many workers share one commit and one notification.

There is no flush window. A lane flushes at once; what arrives while a flush is in flight gathers and is the next one.
A task always uses the same lane, so one flush of it is in flight at a time and readers never see a later one first.
An append is acknowledged when its commit is durable. Waiting bytes are bounded: beyond that ``append`` itself waits,
which holds back the workers and through their pipes the agents. When the database does not answer, everybody in the
flush is told so and sends again; a batch that had been stored after all is then recognised by its number. When it
refuses a value, each batch of the flush is tried alone: what one worker sends fails no other's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass

from app import metrics
from db import events
from db.database import Database
from db.errors import DatabaseRefused
from db.events import Batch

_log = logging.getLogger("ado.appender")
_FLUSH_BATCHES = 200  # hints of one flush must fit a notification of 8000 bytes
_FLUSH_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class _Waiting:
    batch: Batch
    size: int
    done: asyncio.Future[bool]


class Appender:
    """Stores batches; one per replica."""

    def __init__(self, db: Database, *, lanes: int, lease_seconds: float, byte_limit: int, output_limit: int) -> None:
        self._db = db
        self._lease_seconds = lease_seconds
        self._byte_limit = byte_limit
        self._output_limit = output_limit
        self._bytes = 0
        self._room = asyncio.Condition()
        self._queues: list[deque[_Waiting]] = [deque() for _ in range(lanes)]
        self._arrivals = [asyncio.Event() for _ in range(lanes)]

    async def append(self, batch: Batch) -> bool:
        """Store a batch durably; False when the fence or the limit refused it. Raises DatabaseUnavailable."""
        size = sum(len(event.data or b"") + len(event.body or "") + 100 for event in batch.events)
        async with self._room:
            await self._room.wait_for(lambda: self._bytes == 0 or self._bytes + size <= self._byte_limit)
            self._bytes += size
        metrics.APPEND_WAITING_BYTES.inc(size)
        waiting = _Waiting(batch, size, asyncio.get_running_loop().create_future())
        lane = batch.task_id % len(self._queues)
        self._queues[lane].append(waiting)
        self._arrivals[lane].set()
        with metrics.APPEND_SECONDS.time():
            return await waiting.done

    async def run(self) -> None:
        """Flush until cancelled."""
        async with asyncio.TaskGroup() as group:
            for lane in range(len(self._queues)):
                group.create_task(self._run_lane(lane), name=f"append lane {lane}")

    async def _run_lane(self, lane: int) -> None:
        while True:
            await self._arrivals[lane].wait()
            self._arrivals[lane].clear()
            while flush := self._gather(self._queues[lane]):
                await self._flush(flush)

    def _gather(self, queue: deque[_Waiting]) -> list[_Waiting]:
        """Take the next flush; a second batch of one attempt (a repetition) waits for the flush after."""
        taken: list[_Waiting] = []
        seen: set[tuple[int, int]] = set()
        size = 0
        while queue and len(taken) < _FLUSH_BATCHES and size < _FLUSH_BYTES:
            key = (queue[0].batch.task_id, queue[0].batch.job)
            if key in seen:
                break
            seen.add(key)
            taken.append(queue.popleft())
            size += taken[-1].size
        return taken

    async def _flush(self, flush: list[_Waiting]) -> None:
        size = sum(waiting.size for waiting in flush)
        try:
            await self._store(flush, size)
        finally:
            metrics.APPEND_WAITING_BYTES.dec(size)
            async with self._room:
                self._bytes -= size
                self._room.notify_all()

    async def _store(self, flush: list[_Waiting], size: int) -> None:
        metrics.FLUSH_EVENTS.observe(sum(len(waiting.batch.events) for waiting in flush))
        metrics.FLUSH_BYTES.observe(size)
        try:
            stored = await events.append(
                self._db,
                [waiting.batch for waiting in flush],
                self._lease_seconds,
                output_limit=self._output_limit,
            )
        except DatabaseRefused as error:
            if len(flush) == 1:
                _tell(flush, error)
                return
            for waiting in flush:
                await self._store([waiting], waiting.size)
        except Exception as error:  # noqa: BLE001 - every waiter must hear of it, whatever it is
            _tell(flush, error)
        else:
            for waiting, result in zip(flush, stored, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(result is not None)


def _tell(flush: list[_Waiting], error: Exception) -> None:
    for waiting in flush:
        if not waiting.done.done():
            waiting.done.set_exception(error)
