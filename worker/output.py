"""What an agent writes, as events: read from its pipes, held in a bounded buffer, taken in order.

A chunk that is wholly valid UTF-8 is text, any other is base64. A character that a read has cut in two is held back
until the rest comes, for 50 ms at most. Chunks of one stream that still wait are put together, so a flood of short
lines costs few events. When the buffer is full the pipes are not read any more and the agent's writes block: nothing
is dropped and nothing grows.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from worker.masking import Masker, Secrets

_READ_BYTES = 64 * 1024
_EVENT_BYTES = 64 * 1024
_HOLD_SECONDS = 0.05
_EVENT_COST = 64


@dataclass(slots=True)
class Told:
    """Another event that waits to be sent."""

    event: dict[str, Any]
    size: int

    def wire(self) -> dict[str, Any]:
        """Return the event as it is sent."""
        return self.event


@dataclass(slots=True)
class Chunk:
    """Output that waits to be sent."""

    stream: str
    at: datetime
    data: bytearray
    text: bool

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.data)

    def wire(self) -> dict[str, Any]:
        """Return the event as it is sent."""
        event: dict[str, Any] = {"type": "output", "stream": self.stream, "at": self.at.isoformat()}
        if self.text:
            event["data"] = self.data.decode()
        else:
            event["data"] = base64.b64encode(self.data).decode()
            event["encoding"] = "base64"
        return event


def split_character(data: bytes) -> tuple[bytes, bytes, bool]:
    """Return what can be sent, an incomplete character at the end, and whether the former is valid UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(data) - error.start < 4:
            return data[: error.start], data[error.start :], True
        return data, b"", False
    return data, b"", True


def is_text(data: bytes) -> bool:
    """Whether bytes are valid UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class Outbox:
    """The bounded buffer of one attempt. Full at ``limit`` bytes, open again at half of it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending: deque[Chunk | Told] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._closed = False
        self._resume: list[Callable[[], object]] = []

    @property
    def full(self) -> bool:
        """Whether reading must stop."""
        return self._size >= self._limit

    @property
    def empty(self) -> bool:
        """Whether everything was taken."""
        return not self._pending

    async def room(self) -> None:
        """Wait until there is room."""
        while self.full:
            opened = asyncio.Event()
            self.when_open(opened.set)
            await opened.wait()

    def when_open(self, resume: Callable[[], object]) -> None:
        """Call ``resume`` once there is room again."""
        self._resume.append(resume)

    def write(self, stream: str, data: bytes, text: bool) -> None:
        """Add output, to the last chunk where that is alike."""
        last = self._pending[-1] if self._pending else None
        if (
            isinstance(last, Chunk)
            and last.stream == stream
            and last.text == text
            and len(last.data) + len(data) <= _EVENT_BYTES
        ):
            last.data += data
            self._size += len(data)
        else:
            self._put(Chunk(stream, datetime.now(UTC), bytearray(data), text))

    def put(self, event: dict[str, Any], size: int) -> None:
        """Add an event that is no output."""
        self._put(Told({"at": datetime.now(UTC).isoformat(), **event}, size))

    def _put(self, item: Chunk | Told) -> None:
        self._pending.append(item)
        self._size += item.size + _EVENT_COST
        self._filled.set()

    async def take_bytes(self) -> bytes:
        """Wait for output and take all there is, as bytes; empty when closed and empty."""
        while not self._pending and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        data = b"".join(bytes(item.data) for item in self._pending if isinstance(item, Chunk))
        self._pending.clear()
        self._size = 0
        self._open()
        return data

    def _open(self) -> None:
        resume, self._resume = self._resume, []
        for call in resume:
            call()

    def close(self) -> None:
        """Say that nothing more will come."""
        self._closed = True
        self._filled.set()

    async def take(self, events: int, size: int) -> list[dict[str, Any]]:
        """Wait for events and take up to so many, or so many bytes; an empty list when closed and empty."""
        while not self._pending and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        taken: list[dict[str, Any]] = []
        while self._pending and len(taken) < events and size > 0:
            item = self._pending.popleft()
            size -= item.size
            self._size -= item.size + _EVENT_COST
            taken.append(item.wire())
        if self._size <= self._limit // 2:
            self._open()
        return taken


class PipeReader:
    """Reads one pipe into the outbox until its end of file, masked where ``secrets`` are given."""

    def __init__(
        self,
        fd: int,
        stream: str,
        outbox: Outbox,
        secrets: Secrets | None = None,
        heard: Callable[[bytes], object] = lambda _: None,
    ) -> None:
        os.set_blocking(fd, False)
        self._heard = heard
        self._fd = fd
        self._stream = stream
        self._outbox = outbox
        self._masker = Masker(secrets) if secrets else None
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(fd, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not data:
            self.close()
            return
        clear = self._masker.feed(data) if self._masker else data
        self._heard(clear)
        ready, self._held, text = split_character(self._held + clear)
        if ready:
            self._outbox.write(self._stream, ready, text)
        patience = _HOLD_SECONDS if self._held else self._masker.patience if self._masker else None
        if patience is not None:
            self._timer = self._loop.call_later(patience, self._let_go)
        if self._outbox.full:
            self._loop.remove_reader(self._fd)
            self._outbox.when_open(self._resume)

    def _resume(self) -> None:
        if not self.done.done():
            self._loop.add_reader(self._fd, self._readable)

    def _let_go(self) -> None:
        self._timer = None
        rest, self._held = self._held + (self._masker.let_go() if self._masker else b""), b""
        if rest:
            self._outbox.write(self._stream, rest, text=is_text(rest))

    def close(self) -> None:
        """Stop reading, with what is held back sent."""
        if not self.done.done():
            if self._timer is not None:
                self._timer.cancel()
            self._let_go()
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self.done.set_result(None)
