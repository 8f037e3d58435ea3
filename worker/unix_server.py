"""A server on a Unix socket in an attempt's directory, which the job's commands reach.

A socket is used because tools that an agent starts without its file descriptors can reach it, unlike the events pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

_log = logging.getLogger("ado.worker")

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def unix_server(base: Path, name: str, variable: str, serve: Serve) -> AsyncIterator[dict[str, str]]:
    """Serve connections to ``base/name`` during the block; yield the variable with its path, if there is a socket."""
    directory = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(_address(base, directory, name))
        server = await asyncio.start_unix_server(serve, sock=listening)
    except OSError as error:  # on a file system without sockets everything works but the commands that need one
        _log.warning("a job cannot reach its worker", extra={"detail": str(error), "socket": name})
        server = None
    try:
        yield {variable: str(base / name)} if server else {}
    finally:
        server.close() if server else listening.close()
        os.close(directory)


def _address(base: Path, directory: int, name: str) -> str:
    """Return a short path of the socket through an open directory if possible: an address has about a hundred bytes."""
    short = Path(f"/proc/self/fd/{directory}")
    return str((short if short.exists() else base) / name)
