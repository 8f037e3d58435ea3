"""Group commit: what many callers store at once is stored by one statement.

There is no window. A flush begins at once; what comes while it is in flight gathers and is the next one. So one caller
alone waits for nobody, and a hundred share one commit. Two items with a name in common (the same row) never meet in
one flush. When the database refuses a value, each item of the flush is tried alone: what one caller sends fails no
other's call. When it does not answer, everybody in the flush is told so, and the next flush is of one item, the one
after of two, then four: what is too much for the time a statement has would otherwise be sent again for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from db.errors import DatabaseRefused

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Waiting(Generic[T, R]):
    item: T
    names: Sequence[Hashable]
    size: int
    done: asyncio.Future[R]


class Group(Generic[T, R]):
    """Stores items by ``store``, which returns one result for each; one flush in flight.

    A flush has ``items`` at most, and no more than ``size`` as the callers reckon it (but always one).
    """

    def __init__(self, store: Callable[[list[T]], Awaitable[Sequence[R]]], *, items: int, size: int) -> None:
        self._store = store
        self._most = items
        self._width = items
        """How many items the next flush may have."""
        self._limit = size
        self._queue: deque[_Waiting[T, R]] = deque()
        self._flushing: asyncio.Task[None] | None = None

    def put(self, item: T, *names: Hashable, size: int = 0) -> asyncio.Future[R]:
        """Store an item, even if nobody waits any more; the future has its result, or raises what ``store`` did."""
        waiting: _Waiting[T, R] = _Waiting(item, names, size, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="group commit")
        return waiting.done

    async def _flush(self) -> None:
        try:
            while self._queue:
                await self._commit(self._gather())
        finally:
            self._flushing = None

    def _gather(self) -> list[_Waiting[T, R]]:
        taken: list[_Waiting[T, R]] = []
        names: set[Hashable] = set()
        size = 0
        while self._queue and len(taken) < self._width and size < self._limit:
            if not names.isdisjoint(self._queue[0].names):
                break
            names.update(self._queue[0].names)
            taken.append(self._queue.popleft())
            size += taken[-1].size
        return taken

    async def _commit(self, flush: list[_Waiting[T, R]]) -> None:
        try:
            results = await self._store([waiting.item for waiting in flush])
        except DatabaseRefused as error:
            if len(flush) == 1:
                _fail(flush, error)
                return
            for waiting in flush:
                await self._commit([waiting])
        except Exception as error:  # noqa: BLE001 - every waiter must hear of it, whatever it is
            self._width = 1
            _fail(flush, error)
        except asyncio.CancelledError:
            for waiting in (*flush, *self._queue):
                waiting.done.cancel()
            raise
        else:
            self._width = min(self._most, 2 * self._width)
            for waiting, result in zip(flush, results, strict=True):
                if not waiting.done.done():
                    waiting.done.set_result(result)

    async def close(self) -> None:
        """Give up what is not stored; whoever waits for it is cancelled."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)


def _fail(flush: Sequence[_Waiting[T, R]], error: Exception) -> None:
    for waiting in flush:
        if not waiting.done.done():
            waiting.done.set_exception(error)
