"""PEM files of either end: whether one was replaced, and why one cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

Stamp = tuple[int, int, int]


def stamp(path: str) -> Stamp | None:
    """Return a value that changes when the file is replaced or written; None when there is no file."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def why_unusable(error: OSError | ValueError, content: str) -> str:
    """Return why a file cannot be used; ``content`` is what it should hold."""
    if isinstance(error, ssl.SSLError):
        return f"no usable {content} in PEM ({error.reason or error})"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
