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
from worker.output import Outbox, is_text

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
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None

    def read(self) -> bytes | None:
        """Read once; return what came, nothing at the end of file and None when nothing is there."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return None
        if data:
            self._take(data)
        return data

    def _take(self, data: bytes) -> None:
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
        self._stop_timer()
        self._let_go()
        os.close(self._fd)


class _Arrivals:
    """Tells the event loop of pipes that became readable, in that order; raises OSError."""

    def __init__(self, fds: Sequence[int], arrived: Callable[[list[tuple[int, bool]]], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fds = list(fds)
        self._arrived = arrived
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        if self._epoll is not None:
            for fd in fds:
                self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)

    def start(self) -> None:
        """Begin to tell, or go on."""
        if self._epoll is not None:
            self._loop.add_reader(self._epoll.fileno(), self._many)
        else:
            for fd in self._fds:
                self._loop.add_reader(fd, self._arrived, [(fd, False)])

    def stop(self) -> None:
        """Tell nothing for a while."""
        for fd in self._fds if self._epoll is None else [self._epoll.fileno()]:
            self._loop.remove_reader(fd)

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

    def _many(self) -> None:
        assert self._epoll is not None
        deadline = time.monotonic() + _TURN_SECONDS
        while time.monotonic() < deadline:
            found = self._epoll.poll(0)
            if not found:
                return
            if not self._arrived([(fd, bool(event & select.EPOLLHUP)) for fd, event in found]):
                return


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
            self._arrivals = _Arrivals(list(self._streams), self._read)
        except OSError:  # no descriptor is left
            for stream in self._streams.values():
                stream.close()
            raise
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed = False
        self._arrivals.start()

    def _read(self, arrived: list[tuple[int, bool]]) -> bool:
        """Read each pipe that has become readable once; return whether to go on. What goes wrong ends ``done``."""
        try:
            return self._read_once(arrived)
        except Exception as error:  # noqa: BLE001 - nobody would hear of it in a callback of the event loop
            self._arrivals.stop()
            if not self.done.done():
                self.done.set_exception(error)
                self.done.exception()  # whoever waits for it hears of it; where nobody does, another failure came first
            return False

    def _read_once(self, arrived: list[tuple[int, bool]]) -> bool:
        for fd, ended in arrived:
            data = self._streams[fd].read()
            while data and ended:  # the last write and the end may have been told as one
                data = self._streams[fd].read()
            if data == b"":
                self._end(fd)
        if not self._streams:
            self.close()
        elif self._outbox.full:
            self._arrivals.stop()
            self._outbox.when_open(self._resume)
        return bool(self._streams) and not self._outbox.full

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
