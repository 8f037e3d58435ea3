"""The sockets by which commands of a job reach its worker: ``ado mask``, and ``ado ask`` while it waits for a person.

``ado ask`` asks by itself. It keeps a connection open while it waits, on which it names its question. So the wait ends
with the question or with the command, whichever ends first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from worker.output.mask_socket import registrar
from worker.output.masking import Secrets
from worker.questions import Questions
from worker.sandbox.base import ASK_SOCKET
from worker.unix_server import unix_server

VARIABLE = "ADO_ASK_SOCKET"
_MOST_CONNECTIONS = 16  # each is a file descriptor of the worker


@contextlib.asynccontextmanager
async def job_sockets(
    base: Path, secrets: Callable[[], Secrets], questions: Questions
) -> AsyncIterator[dict[str, str]]:
    """Serve an attempt's commands during the block; yield the variables that say where."""
    async with registrar(base, secrets) as masking, ask_socket(base, questions) as asking:
        yield {**masking, **asking}


def ask_socket(base: Path, questions: Questions) -> AbstractAsyncContextManager[dict[str, str]]:
    """Count the job as waiting while it has a connection; yield the variable with the socket's path."""
    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if len(connections) < _MOST_CONNECTIONS:
                connections.add(writer)
                question = (await reader.readline()).decode("ascii", "replace").strip()
                with questions.waiting(question):
                    await reader.read(1)
        except (OSError, ValueError):
            pass  # the command has gone, or sends no name
        finally:
            connections.discard(writer)
            writer.close()

    return unix_server(base, ASK_SOCKET, VARIABLE, serve)
