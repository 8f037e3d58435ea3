"""Files in PEM: whether they were replaced, and why one cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

Stamp = tuple[int, int, int]


def stamp(path: str) -> Stamp | None:
    """Return what changes when a file is replaced or written; None when it is not there."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def why_unusable(error: OSError | ValueError, wanted: str) -> str:
    """Say why a file cannot be used; ``wanted`` is what it should hold."""
    if isinstance(error, ssl.SSLError):
        return f"no usable {wanted} in PEM ({error.reason or error})"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
