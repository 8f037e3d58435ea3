"""The order in which processes wrote to several pipes, as the kernel reports it.

Linux sends a signal for each write to a pipe whose read end has ``O_ASYNC`` set. A real-time signal, chosen by
``F_SETSIG``, is queued, is never merged with another, and names the descriptor. So the queue has one entry for each
write to any pipe, in order. The pipes keep their size. Pipes with room
for one write would keep the order too, but a program that exits without waiting for a full pipe, such as Node with
``process.exit``, would lose output.

A signal does not say how much was written. ``arrange`` therefore divides the data by lines if the number of lines fits
the number of writes: one write for each line, or two, for the line and its end. Other data stays together in the
position of its first write.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.processes.keeper import ORDER_SIGNAL

_F_SETOWN_EX, _F_OWNER_TID = 15, 0
_POLL_IN = 1
_RECORD = struct.Struct("=8xi8xi104x")
"""struct signalfd_siginfo: its code, and the descriptor. See signalfd(2)."""
_MASK_WORDS = 16
_WRITES_IN_A_LINE = (1, 2)


class WriteOrder:
    """Receives the signals of writes to pipes, in the thread that made it; a process has one."""

    _instance: WriteOrder | None = None

    def __init__(self) -> None:
        """Begin to receive signals. Raises OSError or ValueError if the system cannot."""
        # the kernel reports an overflow of the queue by SIGIO, which would end the process
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {ORDER_SIGNAL})
        mask = (ctypes.c_ulong * _MASK_WORDS)()
        mask[0] = 1 << (ORDER_SIGNAL - 1)
        self._fd = ctypes.CDLL(None, use_errno=True).signalfd(-1, ctypes.byref(mask), os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "signalfd")
        self._owner = struct.pack("ii", _F_OWNER_TID, threading.get_native_id())
        self._queues: dict[int, list[int]] = {}

    @classmethod
    def shared(cls) -> WriteOrder | None:
        """Return the instance of this process; None if the kernel or the thread cannot have one."""
        if cls._instance is None and sys.platform == "linux":
            with contextlib.suppress(OSError, ValueError, AttributeError):
                cls._instance = cls()
        return cls._instance

    def watched(self, fds: Sequence[int]) -> list[int]:
        """Return the list of pipes that are watched together already; watch them if they are not. Raises OSError."""
        queue = self._queues.get(fds[0])
        if queue is not None and all(self._queues.get(fd) is queue for fd in fds):
            return queue
        return self.watch(fds)

    def watch(self, fds: Sequence[int]) -> list[int]:
        """Return the list to which ``drain`` adds a descriptor for each write to its pipe. Raises OSError."""
        queue: list[int] = []
        for fd in fds:
            self._queues[fd] = queue
            fcntl.fcntl(fd, _F_SETOWN_EX, self._owner)
            fcntl.fcntl(fd, fcntl.F_SETSIG, ORDER_SIGNAL)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        return queue

    def forget(self, fd: int) -> None:
        """Ignore a pipe from now on. Call this before the descriptor is closed, because its number is used again."""
        self.drain()
        self._queues.pop(fd, None)

    def drain(self) -> None:
        """Read the signals that the kernel has queued."""
        while True:
            try:
                data = os.read(self._fd, 1024 * _RECORD.size)
            except BlockingIOError:
                return
            for code, fd in _RECORD.iter_unpack(data):
                if code == _POLL_IN and fd in self._queues:
                    self._queues[fd].append(fd)


def expect_writes(fds: Sequence[int]) -> Callable[[], None]:
    """Note the order of writes to pipes from now on, before their writer starts; return what ends that.

    A write before it would have no signal, and all later ones would seem to be one too few.
    """
    order = WriteOrder.shared()
    if order is None:
        return lambda: None
    order.watch(fds)

    def end() -> None:
        for fd in fds:
            order.forget(fd)

    return end


@dataclass(slots=True)
class Arranged:
    """Data in the order of its writes. Once all ``pieces`` are taken, ``data`` and ``writes`` wait for unread data."""

    pieces: Iterator[tuple[int, bytes]] = field(default_factory=lambda: iter(()))
    data: dict[int, bytes] = field(default_factory=dict)
    writes: list[int] = field(default_factory=list)


def arrange(early: Sequence[int], late: Sequence[int], data: Mapping[int, bytes]) -> Arranged:
    """Put data into the order of its writes, piece by piece as they are taken: full pipes hold tens of thousands.

    ``early`` are the writes signalled before reading, so ``data`` contains all of them. ``late`` were signalled after
    it, so some may not be in ``data``. Data that was written after the first missing write waits for it.
    """
    arranged = Arranged()
    arranged.pieces = _pieces(arranged, early, late, data)
    return arranged


def _pieces(
    arranged: Arranged, early: Sequence[int], late: Sequence[int], data: Mapping[int, bytes]
) -> Iterator[tuple[int, bytes]]:
    parts = {fd: _divide(read, early.count(fd), late.count(fd)) for fd, read in data.items() if read}
    left = {fd: deque(pieces) for fd, (pieces, _) in parts.items()}
    owed = dict.fromkeys(left, 0)  # writes to pass over, because their piece was given out with the first of them
    writes = (*early, *late)
    for position, fd in enumerate(writes):
        if owed.get(fd):
            owed[fd] -= 1
        elif left.get(fd):
            yield fd, left[fd].popleft()
            owed[fd] = parts[fd][1] - 1
        elif position >= len(early) and any(left.values()):
            arranged.data = {fd: b"".join(pieces) for fd, pieces in left.items() if pieces}
            arranged.writes = list(writes[position:])
            return
        elif position >= len(early):
            arranged.writes.append(fd)
    for fd, pieces in left.items():
        for piece in pieces:
            yield fd, piece


def is_clear(
    early: Sequence[int], late: Sequence[int], data: Mapping[int, bytes], in_two_writes: Collection[int]
) -> bool:
    """Whether the order is known: no write seems to be without its signal.

    A pipe with data is unclear if exactly one signal is missing, or if there is none at all. Many missing signals are
    those of a program that writes several lines at once.

    ``in_two_writes`` are the pipes whose lines and line ends are separate writes.
    """
    read = {fd: came for fd, came in data.items() if came}
    for fd, came in read.items():
        before, after = early.count(fd), late.count(fd)
        lacking = (2 if fd in in_two_writes else 1) * count_lines(came) - before - after
        if lacking == 1 or before + after == 0 or (len(read) > 1 and not _writes_in_a_line(came, before, after)):
            return False
    return True


def _divide(data: bytes, early: int, late: int) -> tuple[list[bytes], int]:
    """Return the data of each write, as far as lines show it, and the number of writes for each piece."""
    if writes := _writes_in_a_line(data, early, late):
        *ended, rest = data.split(b"\n")
        return [line + b"\n" for line in ended] + ([rest] if rest else []), writes
    return [data], max(1, early + late)


def _writes_in_a_line(data: bytes, early: int, late: int) -> int:
    """Return how many writes made each line; 0 if their numbers do not fit.

    There may be one more signal than writes, because the end of the last writer gives one too.
    """
    lines = count_lines(data)
    return next((writes for writes in _WRITES_IN_A_LINE if early - 1 <= writes * lines <= early + late), 0)


def count_lines(data: bytes) -> int:
    """Return the number of lines; the last one may have no end."""
    return data.count(b"\n") + (not data.endswith(b"\n"))
