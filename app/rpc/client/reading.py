"""Reads HTTP answers with limits of time and of bytes, because the server may be anything.

A socket's own timeout is for one read, so a server that sends a byte now and then would be read for ever.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from collections.abc import Iterator
from typing import Any

import orjson

ANSWER_BYTES = 64 * 1024 * 1024
"""Limit of an answer with its head; a large file is read in several."""
_SLOWEST = 10_000  # bytes a second that extend the time of an answer; a slower server is given up
_LONGEST_SECONDS = 120.0  # for one answer, however much of it has arrived
_MOST_VALUES = 2_000_000  # an object of 3 bytes in JSON takes 64 bytes in memory
_PIECE_BYTES = 64 * 1024


class StopReading(Exception):
    """The reader stops before the stream does."""


def parse(text: str | bytes) -> Any:
    """Return the value of an answer in JSON. Raises ValueError for invalid JSON, or too many values."""
    marks: tuple[Any, ...] = ("[", "{", ',"') if isinstance(text, str) else (b"[", b"{", b',"')
    if len(text) > _MOST_VALUES and sum(map(text.count, marks)) > _MOST_VALUES:
        raise ValueError(f"it has more than {_MOST_VALUES} values")
    return orjson.loads(text)


class Response(http.client.HTTPResponse):
    """An answer that must arrive within the socket's timeout, extended by each piece that arrives."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self._bounded = _Bounded(sock)
        self.fp = io.BufferedReader(self._bounded)

    def read_on(self, silence_seconds: float, until: float) -> None:
        """Let the body go on for ever, as long as a part of it arrives every so many seconds.

        From the time ``until`` of the monotonic clock on, reading raises StopReading.
        """
        self._bounded.silence_seconds, self._bounded.until = silence_seconds, until

    def read_whole(self) -> bytes:
        """Return the body. Raises OSError, HTTPException."""
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes]:
        """Yield the body. Raises OSError, HTTPException."""
        # in pieces: memory must not be taken for a length that is only announced
        while piece := self.read(_PIECE_BYTES):
            yield piece
        if self.length:
            raise http.client.IncompleteRead(b"", self.length)


class _Bounded(io.RawIOBase):
    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rb", buffering=0)  # holds the socket open until it is closed
        self._socket = sock
        self._seconds = sock.gettimeout() or 0.0
        self._end = time.monotonic() + self._seconds
        self._last = self._end + _LONGEST_SECONDS
        self._left = ANSWER_BYTES
        self.silence_seconds: float | None = None
        """The limit of each read of a body that may go on for ever."""
        self.until = math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.silence_seconds is not None:
            return self._read_on(buffer, self.silence_seconds)
        remaining = min(self._end, self._last) - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out: the answer comes too slowly")
        self._socket.settimeout(remaining)
        count = self._file.readinto(buffer) or 0
        self._end += count / _SLOWEST
        self._left -= count
        if self._left < 0:
            raise OSError(f"the answer is larger than {ANSWER_BYTES} bytes")
        return count

    def _read_on(self, buffer: Any, silence_seconds: float) -> int:
        remaining = self.until - time.monotonic()
        if remaining <= 0:
            raise StopReading
        self._socket.settimeout(min(silence_seconds, remaining))
        try:
            return self._file.readinto(buffer) or 0
        except TimeoutError:
            if remaining <= silence_seconds:
                raise StopReading from None
            raise

    def close(self) -> None:
        self._file.close()
        super().close()
