"""``ado mask``: inside a job, have a value masked in everything that the job prints from then on."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from cli import exits
from cli.errors import CliError, usage
from cli.job_socket import connect
from cli.parameters import AnyText

_VARIABLE = "ADO_MASK_SOCKET"
_SECONDS = 30.0


def mask(value: AnyText, /) -> None:
    """Mask a value in what this job prints from now on; it returns once the worker does so.

    Parameters
    ----------
    value
        The value; - reads it from stdin, where other processes cannot see it, without its last line end.
    """
    data = sys.stdin.buffer.read().removesuffix(b"\n") if value == "-" else os.fsencode(value)
    path = os.environ.get(_VARIABLE)
    if not path:
        raise usage("ado mask works inside a job that a worker runs", "call it from the job's own commands")
    try:
        answer = _ask(Path(path), data)
    except OSError as error:
        message = f"the worker does not answer, so the value is not masked: {error}"
        raise CliError(message, "do not print the value", exits.INFRASTRUCTURE, "unreachable") from error
    if answer != "ok":
        raise CliError(f"not masked: {answer or 'the worker did not say why'}", "do not print the value", exits.FAILED)


def _ask(path: Path, data: bytes) -> str:
    """Send a value to the worker; return its answer. Raises OSError."""
    with connect(path, _SECONDS) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile(encoding="utf-8").readline().strip()
