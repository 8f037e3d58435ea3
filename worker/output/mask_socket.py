"""Accepts values that a job wants masked, over a Unix socket in the attempt's directory.

The job sends a value and closes its half of the connection. The answer is one line, ``ok`` or an error. It comes once
the value is masked in all output that is read later. A socket is used because tools that an agent starts without its
file descriptors can reach it, unlike the events pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from worker.output.masking import Secrets
from worker.output.secret_forms import SHORTEST, is_short

_log = logging.getLogger("ado.worker")
VARIABLE = "ADO_MASK_SOCKET"
_NAME = "mask"
_VALUE_BYTES = 128 * 1024
_MOST_VALUES = 1000  # each value makes masking a little slower
_SECONDS = 10.0


class _Registrar:
    def __init__(self, secrets: Callable[[], Secrets]) -> None:
        self._secrets = secrets
        self._taken: set[str] = set()
        self._lock = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            async with asyncio.timeout(_SECONDS):
                data = await reader.read(_VALUE_BYTES + 1)
                while len(data) <= _VALUE_BYTES and (more := await reader.read(_VALUE_BYTES + 1 - len(data))):
                    data += more
                writer.write(f"{await self._register(data)}\n".encode())
                await writer.drain()
        except (OSError, TimeoutError):
            pass  # the job has gone, or sends nothing, so it gets no answer
        finally:
            writer.close()

    async def _register(self, data: bytes) -> str:
        value = data.decode("utf-8", "surrogateescape")
        if len(data) > _VALUE_BYTES:
            return f"the value is longer than {_VALUE_BYTES} bytes"
        if is_short(value):
            return f"the value is shorter than {SHORTEST} bytes without white space, so it stands in too much else"
        async with self._lock:
            if value not in self._taken:
                if len(self._taken) >= _MOST_VALUES:
                    return f"this attempt has registered {_MOST_VALUES} values, which is the limit"
                await asyncio.to_thread(self._secrets().add, value)
                self._taken.add(value)
        return "ok"


@contextlib.asynccontextmanager
async def registrar(base: Path, secrets: Callable[[], Secrets]) -> AsyncIterator[dict[str, str]]:
    """Accept values during the block; yield the variable with the socket's path, if there is a socket."""
    directory = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(_address(base, directory))
        server = await asyncio.start_unix_server(_Registrar(secrets).serve, sock=listening)
    except OSError as error:  # on a file system without sockets everything but ado mask works
        _log.warning("no values can be registered for masking", extra={"detail": str(error)})
        server = None
    try:
        yield {VARIABLE: str(base / _NAME)} if server else {}
    finally:
        server.close() if server else listening.close()
        os.close(directory)


def _address(base: Path, directory: int) -> str:
    """Return a short path of the socket through an open directory if possible: an address has about a hundred bytes."""
    short = Path(f"/proc/self/fd/{directory}")
    return str((short if short.exists() else base) / _NAME)
