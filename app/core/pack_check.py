"""How much a bundle holds once it is unpacked, found out as a stream before git gets it.

A pack is compressed twice: by zlib, and by deltas, of which a few bytes can stand for any number. git holds an object
whole in memory, so the sizes are checked first: every object's, and all objects' together. What an object inflates to
is counted, not believed; what a delta makes is read from its beginning. git checks everything else itself.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.core.git import Bundle, GitError, read_header

TOTAL_FACTOR = 8  # so many times the largest file; a worker sends changed files of at most four times that
_STORED_FACTOR = 4  # so many times the largest file a blob of history may be: git does not hold it in memory
_STRUCTURE_BYTES = 32 * 1024 * 1024  # a commit, tree or tag; a directory of 400,000 files
_OBJECTS = 20_000_000
_PIECE_BYTES = 64 * 1024
_HEAD_BYTES = 32  # of a delta: two sizes of at most ten bytes each
_BLOB, _OFS_DELTA, _REF_DELTA = 3, 6, 7
_KINDS = frozenset({1, 2, _BLOB, 4, _OFS_DELTA, _REF_DELTA})


@dataclass(frozen=True, slots=True)
class PackLimits:
    """What a pack may hold, in bytes after decompression."""

    blob_bytes: int
    """Largest file that is stored as it is."""
    delta_bytes: int
    """Largest delta, and largest object that one makes: git builds them in memory."""
    total_bytes: int | None
    """All objects together; None: any size."""

    @classmethod
    def of_result(cls, file_bytes: int) -> PackLimits:
        """Return the limits of a result, where files of a size may travel."""
        return cls(file_bytes, file_bytes, file_bytes * TOTAL_FACTOR)

    @classmethod
    def of_history(cls, file_bytes: int) -> PackLimits:
        """Return the limits of a repository that goes out with its history, which may be any size unpacked."""
        return cls(file_bytes * _STORED_FACTOR, file_bytes, None)


class _Input:
    """Reads a file in pieces, with a byte or a bundle of them at hand."""

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
        """Return what is at hand; never nothing."""
        if self._at == len(self._piece):
            self._fill()
        found = self._piece[self._at :]
        self._at = len(self._piece)
        return found

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


def check_pack(file: IO[bytes], id_bytes: int, limits: PackLimits) -> None:
    """Read a pack from where a file stands; ids of objects have so many bytes. Raises GitError over a limit."""
    source = _Input(file)
    if source.skip(4) != b"PACK" or int.from_bytes(source.skip(4), "big") not in (2, 3):
        raise GitError("this is no pack of version 2")
    count = int.from_bytes(source.skip(4), "big")
    if count > _OBJECTS:
        raise GitError(f"the pack has {count} objects; the limit is {_OBJECTS}")
    total = 0
    for _ in range(count):
        total += _object(source, id_bytes, limits)
        if limits.total_bytes is not None and total > limits.total_bytes:
            raise GitError(f"what was packed is larger than {limits.total_bytes} bytes once it is unpacked")


def _object(source: _Input, id_bytes: int, limits: PackLimits) -> int:
    """Read one object; return what it takes unpacked."""
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
    made = _made_by(begin)
    _check_size(made, limits.delta_bytes)
    return size + made


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
    """Read the object's content, a piece at a time; return its beginning. Raises GitError for another size."""
    inflater, begin, found, pending = zlib.decompressobj(), b"", 0, b""
    try:
        while not inflater.eof:
            piece = inflater.decompress(pending or source.rest(), _PIECE_BYTES)
            pending = inflater.unconsumed_tail
            found += len(piece)
            if len(begin) < _HEAD_BYTES:
                begin += piece[: _HEAD_BYTES - len(begin)]
            if found > size:
                break
    except zlib.error as error:
        raise GitError(f"the pack cannot be read: {error}") from error
    if found != size:
        raise GitError("an object in the pack has another size than it says")
    source.give_back(inflater.unused_data)
    return begin


def _made_by(delta: bytes) -> int:
    """Return the size of the object that a delta makes, from the delta's beginning: the base's size, then this one."""
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
