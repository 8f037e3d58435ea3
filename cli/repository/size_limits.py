"""Limits of files that are fetched, and of their unpacked content."""

from __future__ import annotations

import os

from app.core.pack_check import TOTAL_FACTOR, PackLimits
from cli.errors import usage

_FILE_BYTES = 256 * 1024 * 1024


def file_bytes() -> int:
    """Return the largest file that is fetched, in bytes: ADO_FILE_BYTES, as replicas have it. Raises CliError."""
    text = os.environ.get("ADO_FILE_BYTES") or str(_FILE_BYTES)
    if not text.isdigit() or not int(text):
        raise usage(f"ADO_FILE_BYTES={text} is not a number of bytes", "set it as the replicas have it")
    return int(text)


def of_result() -> PackLimits:
    """Return the limits of a result's bundle."""
    return PackLimits.of_result(file_bytes())


def of_history() -> PackLimits:
    """Return the limits of the bundle that was sent with a task."""
    return PackLimits.of_history(file_bytes())


def total_bytes() -> int:
    """Return the largest total size of the files of a result."""
    return file_bytes() * TOTAL_FACTOR
