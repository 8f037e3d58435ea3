"""The client's end of one subscription: a buffer that is bounded in items and in bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from app.rpc.client.errors import CallError, Unreachable

_BUFFER_ITEMS = 256
_BUFFER_BYTES = 32 * 1024 * 1024  # of frames; one is let in whatever its size


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a subscription; ``id`` is what to resume after."""

    id: str | None
    data: Any


@dataclass(eq=False, slots=True)
class Subscription:
    """One subscription: what is asked for, and what has come of it and was not taken yet."""

    path: str
    input: Any
    last_event_id: str | None
    buffer: asyncio.Queue[tuple[Item | CallError | Unreachable | None, int]] = field(
        default_factory=lambda: asyncio.Queue(_BUFFER_ITEMS)
    )
    held: int = 0
    """Bytes of the frames that the buffer stands for."""
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    failure: CallError | Unreachable | None = None
    """What ended it while its buffer was full; told after what the buffer holds."""

    async def next(self) -> Item | None:
        """Return the next item, None at the end. Raises CallError, Unreachable."""
        if self.failure is not None and self.buffer.empty():
            raise self.failure
        item, size = await self.buffer.get()
        self.held -= size
        self.taken.set()
        if isinstance(item, Exception):
            raise item
        return item

    async def put(self, item: Item | CallError | Unreachable | None, size: int) -> None:
        """Add what came in a frame of so many bytes, once there is room for it."""
        while self.held and self.held + size > _BUFFER_BYTES:
            self.taken.clear()
            await self.taken.wait()
        self.held += size
        await self.buffer.put((item, size))

    def fail(self, error: CallError | Unreachable) -> None:
        """End it without waiting for its consumer."""
        if self.buffer.full():
            self.failure = error
        else:
            self.buffer.put_nowait((error, 0))
