"""Connections of a job's commands to the worker that runs the job."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def connect(path: Path, seconds: float) -> socket.socket:
    """Return a connection to a socket of the attempt, with a time limit for each step. Raises OSError."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX)
    try:
        short = Path(f"/proc/self/fd/{directory}")  # the path of a socket has at most about a hundred bytes
        connection.settimeout(seconds)
        connection.connect(str((short if short.exists() else path.parent) / path.name))
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection
