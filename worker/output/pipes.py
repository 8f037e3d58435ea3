"""Reads the pipes of an agent, in the order in which the agent wrote to them.

``worker.output.write_order`` gives the order of writes to several pipes. It is exact for programs that write line by
line, as shells do. Writes by different processes at the same moment have no order. On other systems than Linux the
order is the one in which the pipes are read.

If a read ends within a character, its bytes are held back until the rest comes, for at most 50 ms.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from worker.output.buffer import Outbox
from worker.output.masking import Masker, Secrets
from worker.output.wire_events import is_text
from worker.output.write_order import Arranged, WriteOrder, arrange, count_lines, is_clear

_READ_BYTES = 64 * 1024  # at least the size of a pipe: a read returns every write that was signalled before it
_HOLD_SECONDS = 0.05
_SIGNAL_SECONDS = 0.0002  # from the data of a write to its signal, if the writer keeps its core
_PATIENCE_SECONDS = 0.02  # how long a missing signal is awaited: its writer may lose its core for a few time slices
_RETRY_SECONDS = 0.001  # the event loop's timers are not finer
_TURN_SECONDS = 0.005  # then other tasks run; on shared cores a turn takes two or three times as long


def split_character(data: bytes) -> tuple[bytes, bytes, bool]:
    """Return the complete characters, the bytes of an incomplete one at the end, and whether the former are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(data) - error.start < 4:
            return data[: error.start], data[error.start :], True
        return data, b"", False
    return data, b"", True


class _PipeStream:
    """One pipe, and the bytes of it that are held back."""

    def __init__(
        self, fd: int, name: str, outbox: Outbox, secrets: Secrets | None, on_data: Callable[[bytes], object]
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._name = name
        self._outbox = outbox
        self._masker = Masker(secrets) if secrets else None
        self._on_data = on_data
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None

    def read(self) -> bytes | None:
        """Read once; return the data, empty at the end of file, None if there is none."""
        try:
            return os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return None

    def take(self, data: bytes) -> None:
        """Mask data and put it into the outbox."""
        self._stop_timer()
        clear = self._masker.feed(data) if self._masker else data
        self._on_data(clear)
        ready, self._held, text = split_character(self._held + clear)
        if ready:
            self._outbox.write(self._name, ready, text)
        patience = _HOLD_SECONDS if self._held else self._masker.patience if self._masker else None
        if patience is not None:
            self._timer = asyncio.get_running_loop().call_later(patience, self._flush)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        self._timer = None
        rest, self._held = self._held + (self._masker.flush() if self._masker else b""), b""
        if rest:
            self._outbox.write(self._name, rest, text=is_text(rest))

    def close(self) -> None:
        """Release what is held back, and close the pipe."""
        self._stop_timer()
        self._flush()
        os.close(self._fd)


class OutputReader:
    """Reads pipes into the outbox until their end of file, masked where ``secrets`` are given."""

    def __init__(
        self,
        pipes: Sequence[tuple[int, str]],
        outbox: Outbox,
        secrets: Secrets | None = None,
        on_data: Callable[[bytes], object] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._streams = {fd: _PipeStream(fd, name, outbox, secrets, on_data) for fd, name in pipes}
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._closed = False
        self._next_turn: asyncio.Handle | None = None
        self._order = WriteOrder.shared() if len(self._streams) > 1 else None
        self._written: list[int] = []
        self._in_two_writes: set[int] = set()
        self._unclear_since: float | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._patience = _PATIENCE_SECONDS
        """Zero after one wait without result: then the program does not write line by line."""
        self._waiting = Arranged()
        """Data that was read, but was written after data that is still unread."""
        self._pieces: Iterator[tuple[int, bytes]] | None = None
        """Data in order until all is taken; an empty piece is the end of its pipe."""
        if self._order is not None:
            self._written = self._order.watched(list(self._streams))
        self._resume()

    def _readable(self) -> None:
        # a second turn in one round of the loop would delay other tasks
        if self._next_turn is None:
            self._take_turn()

    def _schedule(self) -> None:
        if self._next_turn is None:
            self._next_turn = self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """Read for one turn. An error becomes the exception of ``done``."""
        self._next_turn = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._closed:
            return
        try:
            self._read_all()
        except Exception as error:  # noqa: BLE001 - an error in a callback of the event loop would only be logged
            self._pause()
            if not self.done.done():
                self.done.set_exception(error)
                self.done.exception()  # marks it as retrieved: if nobody awaits ``done``, another failure came first

    def _read_all(self) -> None:
        deadline = time.monotonic() + _TURN_SECONDS
        while self._streams and not self._outbox.full and (self._take_piece() or self._read_once()):
            if time.monotonic() >= deadline:
                break
        if not self._streams:
            self.close()
        elif self._outbox.full:
            self._pause()
            self._outbox.on_room(self._resume)
        elif self._unclear_since is not None:
            self._retry = self._loop.call_later(_RETRY_SECONDS, self._readable)
        elif self._pieces is not None or self._waiting.data:  # data waits, although no pipe may become readable
            self._schedule()

    def _take_piece(self) -> bool:
        """Put the next piece into the outbox; return whether there was one.

        One read may contain ten thousand short writes, so the turn may end between pieces, not only between reads.
        """
        if self._pieces is None:
            return False
        fd, piece = next(self._pieces, (None, b""))
        if fd is None:
            self._pieces = None  # now what waits for unread data is known
            return False
        if piece:
            self._streams[fd].take(piece)
        else:
            self._end(fd)
        return True

    def _read_once(self) -> bool:
        """Read each pipe once and take the first piece of the data; return whether there is any."""
        early = [*self._waiting.writes, *self._writes()]
        read = {fd: stream.read() for fd, stream in self._streams.items()}
        data = {fd: self._waiting.data.get(fd, b"") + (came or b"") for fd, came in read.items()}
        late = self._writes()
        if self._order is not None and not is_clear(early, late, data, self._in_two_writes):
            # A write wakes this process a moment before its signal arrives, so wait that moment. select takes a
            # relative time; time.sleep computes its end, and a clock that jumps would make it sleep for hours.
            select.select([], [], [], _SIGNAL_SECONDS)
            late += self._writes()
            if not is_clear(early, late, data, self._in_two_writes) and self._has_patience():
                self._waiting = Arranged(data=data, writes=[*early, *late])
                return False
        self._unclear_since = None
        # More signals than lines: only the end of a pipe signals without data, and it comes last. So lines and their
        # ends are separate writes here.
        self._in_two_writes |= {fd for fd, came in data.items() if came and early.count(fd) > count_lines(came)}
        self._waiting = arrange(early, late, data)
        self._pieces = chain(self._waiting.pieces, [(fd, b"") for fd, came in read.items() if came == b""])
        return self._take_piece() or bool(self._waiting.data)

    def _has_patience(self) -> bool:
        """Whether data may wait for a signal that seems to be missing."""
        now = time.monotonic()
        if self._unclear_since is None:
            self._unclear_since = now
        if now - self._unclear_since >= self._patience:
            self._patience = 0
        return self._patience > 0

    def _writes(self) -> list[int]:
        """Return the writes that were signalled since the last call."""
        if self._order is not None:
            self._order.drain()
        writes = self._written[:]
        self._written.clear()
        return writes

    def _end(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        if waiting := self._waiting.data.pop(fd, b""):
            self._streams[fd].take(waiting)
        if self._order is not None:
            self._order.forget(fd)
        self._streams.pop(fd).close()

    def _pause(self) -> None:
        for fd in self._streams:
            self._loop.remove_reader(fd)

    def _resume(self) -> None:
        if not self.done.done():
            for fd in self._streams:
                self._loop.add_reader(fd, self._readable)
            self._schedule()

    def close(self) -> None:
        """Stop reading; what is held back is sent."""
        if self._closed:
            return
        self._closed = True
        while self._take_piece():
            pass
        for fd in list(self._streams):
            self._end(fd)
        if not self.done.done():
            self.done.set_result(None)
