"""Checks how large a bundle is once it is unpacked, before git reads it.

A pack is compressed by zlib and by deltas, so a few bytes can expand to any number. git holds a whole object in memory,
so the size of every object and the sum of all sizes are checked first. The size after inflation is counted, because the
header of an object may lie. The size that a delta produces is read from its beginning. git checks everything else.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.core.git import Bundle, GitError, read_header

TOTAL_FACTOR = 8  # times the largest file; a worker sends changed files of at most four times that size
_STORED_FACTOR = 4  # times the largest file, for a blob of the history, which git does not hold in memory
_STRUCTURE_BYTES = 32 * 1024 * 1024  # a commit, tree or tag; a directory of 400,000 files
_OBJECTS = 20_000_000
_PIECE_BYTES = 64 * 1024
_HEAD_BYTES = 32  # the beginning of a delta: two sizes of at most ten bytes each
_BLOB, _OFS_DELTA, _REF_DELTA = 3, 6, 7
_KINDS = frozenset({1, 2, _BLOB, 4, _OFS_DELTA, _REF_DELTA})


@dataclass(frozen=True, slots=True)
class PackLimits:
    """The largest sizes in a pack, in bytes after decompression."""

    blob_bytes: int
    """The largest file that is not stored as a delta."""
    delta_bytes: int
    """The largest delta, and the largest object that a delta produces: git builds both in memory."""
    total_bytes: int | None
    """The sum of all objects; None for no limit."""

    @classmethod
    def of_result(cls, file_bytes: int) -> PackLimits:
        """Return the limits of a result, for a limit of ``file_bytes`` for each file."""
        return cls(file_bytes, file_bytes, file_bytes * TOTAL_FACTOR)

    @classmethod
    def of_history(cls, file_bytes: int) -> PackLimits:
        """Return the limits of a repository with its history, which may have any size unpacked."""
        return cls(file_bytes * _STORED_FACTOR, file_bytes, None)


class _Input:
    """Reads a file in pieces, and hands out single bytes or the rest of a piece."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._piece = b""
        self._at = 0

    def byte(self) -> int:
        if self._at == len(self._piece):
            self._fill()
        self._at += 1
        return self._piece[self._at - 1]

    def skip(self, count: int) -> bytes:
        return bytes(self.byte() for _ in range(count))

    def rest(self) -> bytes:
        """Return the rest of the piece, at least one byte."""
        if self._at == len(self._piece):
            self._fill()
        rest = self._piece[self._at :]
        self._at = len(self._piece)
        return rest

    def give_back(self, unused: bytes) -> None:
        self._piece, self._at = unused, 0

    def _fill(self) -> None:
        self._piece, self._at = self._file.read(_PIECE_BYTES), 0
        if not self._piece:
            raise GitError("the pack ends too early")


def check_bundle(bundle: Path, limits: PackLimits) -> Bundle:
    """Check the sizes of a bundle's objects and return its header. Raises GitError."""
    with bundle.open("rb") as file:
        header = read_header(file)
        check_pack(file, len(header.heads[0][0]) // 2 if header.heads else 20, limits)
    return header


@contextmanager
def open_pack(bundle: Path, header: Bundle) -> Iterator[IO[bytes]]:
    """Open a checked bundle as stdin for git: its file descriptor stands where the pack begins."""
    with bundle.open("rb") as file:
        os.lseek(file.fileno(), header.offset, os.SEEK_SET)  # git reads from the descriptor, not from Python's buffer
        yield file


def check_pack(file: IO[bytes], id_bytes: int, limits: PackLimits) -> None:
    """Read the pack at a file's position; object ids have ``id_bytes`` bytes. Raises GitError over a limit."""
    source = _Input(file)
    if source.skip(4) != b"PACK" or int.from_bytes(source.skip(4), "big") not in (2, 3):
        raise GitError("this is not a pack of version 2")
    count = int.from_bytes(source.skip(4), "big")
    if count > _OBJECTS:
        raise GitError(f"the pack has {count} objects; the limit is {_OBJECTS}")
    total = 0
    for _ in range(count):
        total += _object(source, id_bytes, limits)
        if limits.total_bytes is not None and total > limits.total_bytes:
            raise GitError(f"what was packed is larger than {limits.total_bytes} bytes once it is unpacked")


def _object(source: _Input, id_bytes: int, limits: PackLimits) -> int:
    """Read one object; return its unpacked size, for a delta with the size of what it produces."""
    kind, size = _head(source)
    if kind not in _KINDS:
        raise GitError(f"the pack has an object of the unknown kind {kind}")
    if kind == _OFS_DELTA:
        while source.byte() & 0x80:
            pass
    elif kind == _REF_DELTA:
        source.skip(id_bytes)
    is_delta = kind in (_OFS_DELTA, _REF_DELTA)
    _check_size(size, limits.blob_bytes if kind == _BLOB else limits.delta_bytes if is_delta else _STRUCTURE_BYTES)
    begin = _inflate(source, size)
    if not is_delta:
        return size
    produced = _delta_result_size(begin)
    _check_size(produced, limits.delta_bytes)
    return size + produced


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise GitError(f"an object has {size} bytes once it is unpacked; the limit is {limit} (ADO_FILE_BYTES)")


def _head(source: _Input) -> tuple[int, int]:
    """Read an object's kind and size."""
    byte = source.byte()
    kind, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80:
        byte = source.byte()
        size |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise GitError("the pack cannot be read")
    return kind, size


def _inflate(source: _Input, size: int) -> bytes:
    """Read an object's content piece by piece; return its beginning. Raises GitError if it does not have this size."""
    inflater, begin, count, pending = zlib.decompressobj(), b"", 0, b""
    try:
        while not inflater.eof:
            piece = inflater.decompress(pending or source.rest(), _PIECE_BYTES)
            pending = inflater.unconsumed_tail
            count += len(piece)
            if len(begin) < _HEAD_BYTES:
                begin += piece[: _HEAD_BYTES - len(begin)]
            if count > size:
                break
    except zlib.error as error:
        raise GitError(f"the pack cannot be read: {error}") from error
    if count != size:
        raise GitError("an object in the pack has another size than it says")
    source.give_back(inflater.unused_data)
    return begin


def _delta_result_size(delta: bytes) -> int:
    """Return the size of the object that a delta produces, the second number at the delta's beginning."""
    sizes, value, shift = [], 0, 0
    for byte in delta:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            sizes.append(value)
            value = shift = 0
            if len(sizes) == 2:
                return sizes[1]
    raise GitError("a delta in the pack cannot be read")
