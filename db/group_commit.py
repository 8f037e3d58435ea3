"""Group commit: one statement stores what several callers want stored at the same time.

There is no waiting period. A flush starts at once, and items that arrive during it form the next flush. So a lone
caller waits for nobody, and a hundred callers share one commit. Two items with a key in common (the same row) are never
in one flush. If the database refuses a value, each item of the flush is stored alone, so one caller's bad value fails
nobody else. If the database does not answer, every item of the flush fails, and the next flush has one item, the one
after it two, then four: an oversized flush is not retried unchanged.
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
class _Submission(Generic[T, R]):
    item: T
    keys: Sequence[Hashable]
    size: int
    result: asyncio.Future[R]


class GroupCommit(Generic[T, R]):
    """Stores items with ``store``, which returns one result for each; one flush runs at a time.

    A flush has at most ``max_items`` items, and ends at ``max_size`` by the sizes that callers give.
    """

    def __init__(self, store: Callable[[list[T]], Awaitable[Sequence[R]]], *, max_items: int, max_size: int) -> None:
        self._store = store
        self._max_items = max_items
        self._next_items = max_items
        """How many items the next flush may have."""
        self._max_size = max_size
        self._queue: deque[_Submission[T, R]] = deque()
        self._flushing: asyncio.Task[None] | None = None

    def submit(self, item: T, *keys: Hashable, size: int = 0) -> asyncio.Future[R]:
        """Store an item, even if its caller stops waiting; the future has the result, or raises what ``store`` did."""
        submission: _Submission[T, R] = _Submission(item, keys, size, asyncio.get_running_loop().create_future())
        self._queue.append(submission)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name="group commit")
        return submission.result

    async def _flush(self) -> None:
        try:
            while self._queue:
                flush = self._next_flush()
                try:
                    await self._commit(flush)
                except BaseException:  # callers that got no result must not wait for ever
                    for submission in (*flush, *self._queue):
                        submission.result.cancel()
                    self._queue.clear()
                    raise
        finally:
            self._flushing = None

    def _next_flush(self) -> list[_Submission[T, R]]:
        flush: list[_Submission[T, R]] = []
        keys: set[Hashable] = set()
        size = 0
        while self._queue and len(flush) < self._next_items and size < self._max_size:
            if not keys.isdisjoint(self._queue[0].keys):
                break
            keys.update(self._queue[0].keys)
            flush.append(self._queue.popleft())
            size += flush[-1].size
        return flush

    async def _commit(self, flush: list[_Submission[T, R]]) -> None:
        try:
            results = await self._store([submission.item for submission in flush])
        except DatabaseRefused as error:
            if len(flush) == 1:
                _fail(flush, error)
                return
            for submission in flush:
                await self._commit([submission])
        except Exception as error:  # noqa: BLE001 - every caller must get the error, whatever it is
            self._next_items = 1
            _fail(flush, error)
        else:
            self._next_items = min(self._max_items, 2 * self._next_items)
            for submission, result in zip(flush, results, strict=True):
                if not submission.result.done():
                    submission.result.set_result(result)

    async def close(self) -> None:
        """Discard what is not stored; callers that wait for it are cancelled."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)


def _fail(flush: Sequence[_Submission[T, R]], error: Exception) -> None:
    for submission in flush:
        if not submission.result.done():
            submission.result.set_exception(error)
