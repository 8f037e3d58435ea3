"""The bounded buffer of one attempt's events, taken in order.

A chunk of output that is valid UTF-8 is text, any other is base64. Waiting chunks of one stream are joined, so many
short lines make few events. When the buffer is full, the pipes are not read and the agent's writes block: nothing is
dropped, and memory does not grow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from worker.output.wire_events import CHUNK_BYTES, Chunk, Encoded, encode, is_text

_EVENT_COST = 64  # bytes that an event takes in memory besides its content


class Outbox:
    """Holds events. It is full at ``limit`` bytes; readers resume once it is at most half full."""

    def __init__(self, limit: int, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._limit = limit
        self._chunk_bytes = chunk_bytes
        self._pending: deque[Chunk | Encoded] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._closed = False
        self._resume: list[Callable[[], object]] = []

    @property
    def full(self) -> bool:
        """Whether reading must stop."""
        return self._size >= self._limit

    async def wait_for_room(self) -> None:
        """Wait until there is room."""
        while self.full:
            opened = asyncio.Event()
            self.on_room(opened.set)
            await opened.wait()

    def on_room(self, resume: Callable[[], object]) -> None:
        """Call ``resume`` once it is at most half full."""
        self._resume.append(resume)

    def write(self, stream: str, data: bytes, text: bool) -> None:
        """Add output: to the last chunk if it has the same stream and kind, else as new chunks of limited size."""
        for start in range(0, len(data), self._chunk_bytes):
            piece = data[start : start + self._chunk_bytes]
            self._write(stream, piece, text if len(piece) == len(data) else is_text(piece))

    def _write(self, stream: str, data: bytes, text: bool) -> None:
        last = self._pending[-1] if self._pending else None
        if (
            isinstance(last, Chunk)
            and last.stream == stream
            and last.text == text
            and len(last.data) + len(data) <= self._chunk_bytes
        ):
            last.data += data
            self._size += len(data)
        else:
            self._put(Chunk(stream, datetime.now(UTC), bytearray(data), text))

    def put(self, event: dict[str, Any], size: int = 0) -> None:
        """Add an event that is not output; one that cannot be sent becomes a ``dropped`` event of ``size`` bytes."""
        self.add(encode({"at": datetime.now(UTC).isoformat(), **event}, size))

    def add(self, event: Encoded) -> None:
        """Add an encoded event."""
        self._put(event)

    def _put(self, item: Chunk | Encoded) -> None:
        self._pending.append(item)
        self._size += item.size + _EVENT_COST
        self._filled.set()

    def _resume_readers(self) -> None:
        resume, self._resume = self._resume, []
        for call in resume:
            call()

    def close(self) -> None:
        """Note that nothing more is added."""
        self._closed = True
        self._filled.set()

    async def take(self, events: int, size: int) -> list[bytes]:
        """Wait for events; return at most so many, as JSON of at most ``size`` bytes; none if closed and empty.

        The first event is returned whatever its size, so a large one does not stay for ever.
        """
        while not self._pending and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        encoded: list[bytes] = []
        while self._pending and len(encoded) < events:
            wire = self._pending[0].wire()
            size -= len(wire)
            if encoded and size < 0:
                break
            self._size -= self._pending.popleft().size + _EVENT_COST
            encoded.append(wire)
        if self._size <= self._limit // 2:
            self._resume_readers()
        return encoded
