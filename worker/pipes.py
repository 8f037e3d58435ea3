"""Reading what an agent writes to its pipes, in the order in which it wrote.

Two pipes say nothing about the order between them, so each holds one write at a time (see ``worker.process``), and an
epoll instance in edge-triggered mode names the pipes in the order in which they became readable. One write is read for
each time that a pipe is named. What one process after the other writes to stdout and stderr is thus put in order,
however fast it comes, for writes of up to 4,096 bytes; a longer one is cut into several. Writes that are made at the
same moment by different processes have no order. A pipe that an agent has opened anew (``/dev/stderr``) may hold
several short writes, and those are kept together. On macOS the order is the one in which the pipes are read.

A character that a read has cut in two is held back until the rest comes, for 50 ms at most.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Callable, Sequence

from worker.masking import Masker, Secrets
from worker.output import Outbox
from worker.wire_events import is_text

_READ_BYTES = 64 * 1024  # no less than a pipe can hold: what comes after a read is named again
_HOLD_SECONDS = 0.05
_TURN_SECONDS = 0.01  # then other work gets its turn


def split_character(data: bytes) -> tuple[bytes, bytes, bool]:
    """Return what can be sent, an incomplete character at the end, and whether the former is valid UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(data) - error.start < 4:
            return data[: error.start], data[error.start :], True
        return data, b"", False
    return data, b"", True


class _Stream:
    """One pipe and what of it is held back."""

    def __init__(
        self, fd: int, name: str, outbox: Outbox, secrets: Secrets | None, heard: Callable[[bytes], object]
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._name = name
        self._outbox = outbox
        self._masker = Masker(secrets) if secrets else None
        self._heard = heard
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None

    def read(self) -> bytes | None:
        """Read once; return what came, nothing at the end of file and None when nothing is there."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return None
        self._pieces.append(data)
        self._gathered += len(data)
        if self._gathered >= _READ_BYTES:
            self.hand_on()
        return data

    def hand_on(self) -> None:
        """Put what was read into the outbox: several reads together, because each of them is small."""
        if not self._gathered:
            return
        data, self._pieces, self._gathered = b"".join(self._pieces), [], 0
        self._stop_timer()
        clear = self._masker.feed(data) if self._masker else data
        self._heard(clear)
        ready, self._held, text = split_character(self._held + clear)
        if ready:
            self._outbox.write(self._name, ready, text)
        patience = _HOLD_SECONDS if self._held else self._masker.patience if self._masker else None
        if patience is not None:
            self._timer = asyncio.get_running_loop().call_later(patience, self._let_go)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _let_go(self) -> None:
        self._timer = None
        rest, self._held = self._held + (self._masker.let_go() if self._masker else b""), b""
        if rest:
            self._outbox.write(self._name, rest, text=is_text(rest))

    def close(self) -> None:
        """Send what is held back and close the pipe."""
        self.hand_on()
        self._stop_timer()
        self._let_go()
        os.close(self._fd)


class _Arrivals:
    """Calls ``ready`` in the event loop when a pipe has become readable; raises OSError."""

    def __init__(self, fds: Sequence[int], ready: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fds = list(fds)
        self._ready = ready
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            for fd in fds:
                self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def start(self) -> None:
        """Begin to call, or go on."""
        for fd in self._fds if self._epoll is None else [self._epoll.fileno()]:
            self._loop.add_reader(fd, self._ready)

    def stop(self) -> None:
        """Do not call for a while."""
        for fd in self._fds if self._epoll is None else [self._epoll.fileno()]:
            self._loop.remove_reader(fd)

    def look(self) -> list[tuple[int, bool]]:
        """Return the pipes that have become readable, in that order, and whether each has no writer any more."""
        if self._epoll is None:
            return [(fd, False) for fd in select.select(self._fds, [], [], 0)[0]]
        return [(fd, bool(event & select.EPOLLHUP)) for fd, event in self._epoll.poll(0)]

    def forget(self, fd: int) -> None:
        """Tell nothing of a pipe any more."""
        self._fds.remove(fd)
        if self._epoll is not None:
            self._epoll.unregister(fd)
        else:
            self._loop.remove_reader(fd)

    def close(self) -> None:
        """Tell nothing any more."""
        self.stop()
        if self._epoll is not None:
            self._epoll.close()


class OutputReader:
    """Reads pipes into the outbox until their end of file, masked where ``secrets`` are given."""

    def __init__(
        self,
        pipes: Sequence[tuple[int, str]],
        outbox: Outbox,
        secrets: Secrets | None = None,
        heard: Callable[[bytes], object] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._streams = {fd: _Stream(fd, name, outbox, secrets, heard) for fd, name in pipes}
        try:
            self._arrivals = _Arrivals(list(self._streams), self._take_turn)
        except OSError:  # no descriptor is left
            for stream in self._streams.values():
                stream.close()
            raise
        self._last: _Stream | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = False
        self._arrivals.start()

    def _take_turn(self) -> None:
        """Read what has come, for a while. What goes wrong ends ``done``."""
        try:
            self._read_all()
        except Exception as error:  # noqa: BLE001 - nobody would hear of it in a callback of the event loop
            self._arrivals.stop()
            if not self.done.done():
                self.done.set_exception(error)
                self.done.exception()  # whoever waits for it hears of it; where nobody does, another failure came first

    def _read_all(self) -> None:
        deadline = time.monotonic() + _TURN_SECONDS
        while self._streams and not self._outbox.full and time.monotonic() < deadline:
            arrived = self._arrivals.look()
            if not arrived:
                break
            for fd, ended in arrived:
                self._read(fd, ended)
        self._hand_on(None)
        if not self._streams:
            self.close()
        elif self._outbox.full:
            self._arrivals.stop()
            self._outbox.when_open(self._resume)

    def _read(self, fd: int, ended: bool) -> None:
        """Read a pipe once, for the one time that it has become readable."""
        stream = self._streams[fd]
        self._hand_on(stream)
        data = stream.read()
        while data and ended:  # the last write and the end may have been told as one
            data = stream.read()
        if data == b"":
            self._end(fd)

    def _hand_on(self, following: _Stream | None) -> None:
        """Put into the outbox what comes before another stream, or before the end of a turn."""
        if self._last is not None and self._last is not following:
            self._last.hand_on()
        self._last = following

    def _end(self, fd: int) -> None:
        self._arrivals.forget(fd)
        self._streams.pop(fd).close()

    def _resume(self) -> None:
        if not self.done.done():
            self._arrivals.start()

    def close(self) -> None:
        """Stop reading, with what is held back sent."""
        if self._closed:
            return
        self._closed = True
        for fd in list(self._streams):
            self._end(fd)
        self._arrivals.close()
        if not self.done.done():
            self.done.set_result(None)
