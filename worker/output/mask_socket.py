"""Accepts values that a job wants masked, over a Unix socket in the attempt's directory.

The job sends a value and closes its half of the connection. The answer is one line, ``ok`` or an error. It comes once
the value is masked in all output that is read later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from worker.output.masking import Secrets
from worker.output.secret_forms import SHORTEST, is_short
from worker.sandbox.base import MASK_SOCKET
from worker.unix_server import unix_server

VARIABLE = "ADO_MASK_SOCKET"
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


def registrar(base: Path, secrets: Callable[[], Secrets]) -> AbstractAsyncContextManager[dict[str, str]]:
    """Accept values during the block; yield the variable with the socket's path, if there is a socket."""
    return unix_server(base, MASK_SOCKET, VARIABLE, _Registrar(secrets).serve)
