"""Opens a file that a job has made, without following the job's links."""

from __future__ import annotations

import os
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_beneath(top: Path, name: Path) -> int:
    """Open a file below a directory. Raises OSError, also for a link in any part of its path."""
    fd = os.open(top, _FLAGS | os.O_DIRECTORY)
    *directories, last = name.parts
    for part, flags in (*((part, _FLAGS | os.O_DIRECTORY) for part in directories), (last, _FLAGS)):
        above = fd
        try:
            fd = os.open(part, flags, dir_fd=above)
        finally:
            os.close(above)
    return fd
