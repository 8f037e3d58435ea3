"""Waiting that costs a long-lived connection little memory while nothing happens."""

from __future__ import annotations

import asyncio
from typing import Any


class LazyEvent:
    """An event like asyncio's, which holds 800 bytes for waiters that may never come; this has them once one waits."""

    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = False
        self._event: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it, and wake everybody who waits."""
        self._set = True
        if self._event is not None:
            self._event.set()
            self._event = None

    def clear(self) -> None:
        """Make the next waiter wait."""
        self._set = False

    async def wait(self) -> None:
        """Return once it is set."""
        if not self._set:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()


class Inbox:
    """A queue without a limit that one reader at a time takes from; an empty asyncio.Queue holds 3 KB."""

    __slots__ = ("_arrived", "_items")

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._arrived: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        """Whether nothing waits for the reader."""
        return not self._items

    def put_nowait(self, item: Any) -> None:
        """Add an item, and wake the reader."""
        self._items.append(item)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def get(self) -> Any:
        """Return the oldest item, once there is one; a reader that is cancelled loses none."""
        while not self._items:
            self._arrived = asyncio.get_running_loop().create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None
        return self._items.pop(0)
