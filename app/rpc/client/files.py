"""Upload and download of files as HTTP bodies, checked by digest, resumed after a broken connection.

A request is repeated with back-off for ``patience`` seconds while no server answers or the server is unavailable. Any
other error ends the transfer at once. A replica of an older release has no bodies; it gets the same bytes by
``files.write`` and ``files.read``, which stay for one release.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from app.rpc.client.errors import CallError, NoAnswer
from app.rpc.client.http import HttpClient
from app.rpc.client.retry import Failure, is_passing, until_answered

_OLD_PIECE_BYTES = 1024 * 1024  # of files.read
_READ_BYTES = 16 * 1024 * 1024
"""Of one download: within the limits of time and bytes for an answer, even on a slow line."""
_WRITE_BYTES = 4 * 1024 * 1024
"""Of one upload, which is held in memory and repeated whole. Older replicas and proxies take bodies of this size."""
_NO_BODIES = "no_such_page"
_UNAVAILABLE = frozenset({"SERVICE_UNAVAILABLE", "TIMEOUT"})  # a server that failed over a piece would fail again
_SMALLEST_PIECE_BYTES = 64 * 1024  # the last piece may be smaller; a server's have 1 MiB
_LARGEST_PIECE_BYTES = 16 * 1024 * 1024


class _Stopped(NoAnswer):
    """The transfer was stopped; nothing is sent again."""


class Transfer:
    """Sends and fetches files through a client of its own, in one thread; ``stop`` may be called from another.

    ``limit`` is the largest file that is fetched, in bytes.
    """

    def __init__(self, client: HttpClient, *, patience: float, limit: int) -> None:
        self._client = client
        self._limit = limit
        self._patience = patience
        self._stopped = False

    def stop(self) -> None:
        """End the running transfer with NoAnswer before its next piece."""
        self._stopped = True

    def send(self, path: Path, **members: Any) -> str:
        """Upload a file, with further members for files.begin; return its id.

        Raises CallError, NoAnswer.
        """
        size, digest = _measure(path)
        file_id = f"file-{secrets.token_hex(16)}"
        description = {"fileId": file_id, "size": size, "sha256": digest, **members}
        begun = self._call(self._client.mutate, "files.begin", description)
        piece = begun["chunkBytes"]
        if type(piece) is not int or not 1 <= piece <= _LARGEST_PIECE_BYTES:
            raise NoAnswer("files.begin", f"the server asks for pieces of {piece!r} bytes")
        span = max(1, _WRITE_BYTES // piece) * piece
        with path.open("rb") as file:
            for offset in range(0, size, span):
                self._write(file_id, offset, file.read(span), size, piece)
        self._call(self._client.mutate, "files.commit", {"fileId": file_id})
        return file_id

    def _write(self, file_id: str, offset: int, data: bytes, size: int, piece: int) -> None:
        def put(target: str, content_range: str) -> None:
            self._client.put(target, data, content_range)

        try:
            self._call(put, _target(file_id), f"bytes {offset}-{offset + len(data) - 1}/{size}")
        except CallError as error:
            if error.reason != _NO_BODIES:
                raise
            for start in range(0, len(data), piece):
                text = base64.b64encode(data[start : start + piece]).decode()
                value = {"fileId": file_id, "offset": offset + start, "data": text}
                self._call(self._client.mutate, "files.write", value)

    def fetch(self, file: dict[str, Any], path: Path) -> None:
        """Download a file that files.list described. Raises CallError, NoAnswer, ValueError for other content."""
        size = file["size"]
        if type(size) is not int or not 0 <= size <= self._limit:
            raise ValueError(f"it has {size!r} bytes; the limit is {self._limit} (ADO_FILE_BYTES)")
        with path.open("wb") as output:
            while output.tell() < size:
                self._read(file["fileId"], output, size)
        if _measure(path) != (size, file["sha256"]):
            raise ValueError("the digest of the received file differs from the announced one")

    def _read(self, file_id: Any, output: BinaryIO, size: int) -> None:
        """Append the next part of a file; a repeated request asks only for what is missing."""
        end = min(size, output.tell() + _READ_BYTES)

        def read(target: str, _: None) -> None:
            for data in self._client.read_range(target, output.tell(), end - 1, size):
                output.write(data)
                self._check_stopped(target)

        try:
            self._call(read, _target(file_id), None)
        except CallError as error:
            if error.reason != _NO_BODIES:
                raise
            output.seek(output.tell() // _OLD_PIECE_BYTES * _OLD_PIECE_BYTES)
            output.write(self._piece(file_id, output.tell(), size - output.tell()))

    def _piece(self, file_id: Any, offset: int, left: int) -> bytes:
        """Return a piece of a file. Raises ValueError for one that is too large, or too small to ever finish."""
        piece = self._call(self._client.query, "files.read", {"fileId": file_id, "offset": offset})
        try:
            data = base64.b64decode(piece["data"], validate=True)
        except (TypeError, KeyError) as error:
            raise ValueError("the server sent no piece of the file") from error
        if not min(_SMALLEST_PIECE_BYTES, left) <= len(data) <= left:
            raise ValueError(f"the server sent a piece of {len(data)} bytes where {left} were left")
        return data

    def list(self, task_id: str) -> list[dict[str, Any]]:
        """Return the files of a task, from all pages of files.list. Raises CallError, NoAnswer."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self._call(self._client.query, "files.list", {"taskId": task_id, "cursor": cursor})
            items += page["items"]
            cursor = page.get("nextCursor")
            if cursor is None:
                return items

    def _check_stopped(self, path: str) -> None:
        if self._stopped:
            raise _Stopped(path, "the transfer was stopped")

    def _call(self, call: Callable[[str, Any], Any], path: str, value: Any) -> Any:
        end = time.monotonic() + self._patience

        def attempt() -> Any:
            self._check_stopped(path)
            return call(path, value)

        def repeats(error: Failure) -> bool:
            is_temporary = error.code in _UNAVAILABLE if isinstance(error, CallError) else is_passing(error)
            return is_temporary and not isinstance(error, _Stopped) and time.monotonic() <= end

        return until_answered(attempt, repeats=repeats)


def _target(file_id: Any) -> str:
    return f"/files/{quote(str(file_id), safe='')}"


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()
