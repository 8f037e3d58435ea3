"""Sends a job its stdin: in order, each byte once, as fast as the job reads.

Every call has the offset of its bytes, so a call without an answer is sent again, to any replica. The server delays its
answer while the job is slow, and the source is not read while ``BUFFER_BYTES`` are unsent. Memory holds this buffer,
the bytes of one call and one piece of the source. Each input has its own connection: it can leave a replica of an older
release, and its large calls delay no others.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from functools import partial
from typing import Any, Final, Protocol, Self, TypeAlias, runtime_checkable

import msgspec

from app.client.errors import translated
from app.client.models import Received
from app.rpc.client import CallError, Client
from app.rpc.client.retry import Failure, UpgradeWait, is_passing, until_answered_async

BUFFER_BYTES: Final = 512 * 1024

Data: TypeAlias = bytes | bytearray | memoryview


@runtime_checkable
class Readable(Protocol):
    """A file that was opened for bytes; ``read`` blocks until there are some."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, and none at the end."""


Source: TypeAlias = Data | Readable | Iterable[Data]
"""Bytes, a file opened for bytes, or pieces of bytes."""
AsyncSource: TypeAlias = Source | AsyncIterable[Data]


class JobInput:
    """Sends the stdin of a job from an offset on; used as an async context manager."""

    def __init__(self, client: Client, task_id: str, job: int, offset: int) -> None:
        self._client = client
        self._target = {"taskId": task_id, "job": job}
        self._offset = offset
        self._buffer = bytearray()
        self._room = asyncio.Event()
        self._more = asyncio.Event()
        self._complete = False
        self._ends = False
        self._upgrade_wait = UpgradeWait()

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        self._task = asyncio.create_task(self._send_all(), name="ado client input")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.__aexit__(None, None, None)

    async def put(self, data: Data) -> None:
        """Add bytes once the buffer has room for them. Raises the error that ended the input."""
        view = memoryview(data).cast("B")
        while view:
            room = BUFFER_BYTES - len(self._buffer)
            if room == 0 or self._task.done():
                await self._wait_for_room()
                continue
            self._buffer += view[:room]
            view = view[room:]
            self._more.set()

    async def finish(self, *, end: bool) -> int:
        """Wait until the server has all bytes; return their number. With ``end`` the job's input ends with them."""
        self._complete, self._ends = True, end
        self._more.set()
        with translated():
            await self._task
        return self._offset

    async def _wait_for_room(self) -> None:
        self._room.clear()
        waiting = asyncio.ensure_future(self._room.wait())
        try:
            await asyncio.wait([waiting, self._task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._task.done():
            with translated():
                self._task.result()

    async def _send_all(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            data, is_last = bytes(self._buffer), self._complete
            self._buffer.clear()
            self._room.set()
            if data or (is_last and self._ends):
                await self._send(data, end=is_last and self._ends)
            if is_last:
                return

    async def _send(self, data: bytes, *, end: bool) -> None:
        """Send bytes until the server has all of them. Raises CallError, NoAnswer."""
        view, last = memoryview(data), self._offset + len(data)
        while True:
            value = {**self._target, "offset": self._offset, "data": base64.b64encode(view).decode(), "end": end}
            send = partial(self._client.mutate, "tasks.input", value, resend=True)
            try:
                answer = await until_answered_async(send, repeats=self._repeats)
            except CallError as error:
                if error.reason == "input_closed" and not view:
                    return  # the job ended with all of its input before the server learned that nothing follows
                raise
            self._upgrade_wait.renew()
            accepted = max(0, min(answer["acknowledged"] - self._offset, len(view)))
            self._offset += accepted
            view = view[accepted:]
            if self._offset == last:
                return

    def _repeats(self, error: Failure) -> bool:
        if isinstance(error, CallError) and self._upgrade_wait.allows(error):
            self._client.leave()
            return True
        return isinstance(error, CallError) and is_passing(error)


def check(_path: str, value: Any) -> None:
    """Raise ValueError for an answer without the shape of ``tasks.input``."""
    msgspec.convert(value, Received)


async def async_pieces(source: AsyncSource) -> AsyncGenerator[Data, None]:
    """Yield the bytes of a source, which is read in its own thread if it blocks. Raises TypeError."""
    if isinstance(source, AsyncIterable):
        async for piece in source:
            yield _checked(piece)
    elif isinstance(source, Data):
        yield source
    else:
        async with contextlib.aclosing(_read_in_thread(pieces(source))) as source_pieces:
            async for piece in source_pieces:
                yield piece


def pieces(source: Source) -> Iterator[Data]:
    """Yield the bytes of a source. Raises TypeError."""
    if isinstance(source, Data):
        yield source
    elif isinstance(source, Readable):
        read = getattr(source, "read1", source.read)  # returns the bytes that are there, without waiting for more
        while piece := _checked(read(BUFFER_BYTES)):
            yield piece
    else:
        yield from map(_checked, source)


def _checked(piece: object) -> Data:
    if not isinstance(piece, Data):
        raise TypeError(f"the source gives {type(piece).__name__}, not bytes: open a file in mode 'rb', encode a text")
    return piece


async def _read_in_thread(source_pieces: Iterator[Data]) -> AsyncGenerator[Data, None]:
    """Yield the pieces of an iterator that may block. The thread of a blocked read ends with the process."""
    loop = asyncio.get_running_loop()
    wanted: queue.SimpleQueue[asyncio.Future[Data | None] | None] = queue.SimpleQueue()

    def read() -> None:
        while (future := wanted.get()) is not None:
            piece, error = None, None
            try:
                piece = next(source_pieces, None)
            except BaseException as raised:  # noqa: BLE001 - it is raised where the piece is waited for
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(_settle, future, piece, error)

    threading.Thread(target=read, name="ado client source", daemon=True).start()
    try:
        while True:
            future: asyncio.Future[Data | None] = loop.create_future()
            wanted.put(future)
            piece = await future
            if piece is None:
                return
            yield piece
    finally:
        wanted.put(None)


def _settle(future: asyncio.Future[Data | None], piece: Data | None, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(piece)
