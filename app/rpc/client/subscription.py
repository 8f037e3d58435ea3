"""The client's end of one subscription: a buffer with a limit of items and of bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from app.rpc.client.errors import CallError, NoAnswer
from app.rpc.client.items import Item

_BUFFER_ITEMS = 256
_BUFFER_BYTES = 32 * 1024 * 1024  # of frames; an empty buffer takes one of any size


@dataclass(eq=False, slots=True)
class Subscription:
    """A subscription's request, and its items that the consumer has not taken yet."""

    path: str
    input: Any
    last_event_id: str | None
    buffer: asyncio.Queue[tuple[Item | CallError | NoAnswer | None, int]] = field(
        default_factory=lambda: asyncio.Queue(_BUFFER_ITEMS)
    )
    buffered_bytes: int = 0
    """Bytes of the frames whose items are in the buffer."""
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    failure: CallError | NoAnswer | None = None
    """The error that ended it while its buffer was full; raised after the buffered items."""

    async def next(self) -> Item | None:
        """Return the next item, None at the end. Raises CallError, NoAnswer."""
        if self.failure is not None and self.buffer.empty():
            raise self.failure
        item, size = await self.buffer.get()
        self.buffered_bytes -= size
        self.taken.set()
        if isinstance(item, Exception):
            raise item
        return item

    async def put(self, item: Item | CallError | NoAnswer | None, size: int) -> None:
        """Add an item from a frame of ``size`` bytes once the buffer has room for it."""
        while self.buffered_bytes and self.buffered_bytes + size > _BUFFER_BYTES:
            self.taken.clear()
            await self.taken.wait()
        self.buffered_bytes += size
        await self.buffer.put((item, size))

    def fail(self, error: CallError | NoAnswer) -> None:
        """End it with an error, without waiting for room in the buffer."""
        if self.buffer.full():
            self.failure = error
        else:
            self.buffer.put_nowait((error, 0))
