"""Opening a file that a job has made, without following any link that it put in the way."""

from __future__ import annotations

import os
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_beneath(top: Path, name: Path) -> int:
    """Open a file by its path below a directory; a link anywhere below it is an error. Raises OSError."""
    fd = os.open(top, _FLAGS | os.O_DIRECTORY)
    *directories, last = name.parts
    for part, flags in (*((part, _FLAGS | os.O_DIRECTORY) for part in directories), (last, _FLAGS)):
        above = fd
        try:
            fd = os.open(part, flags, dir_fd=above)
        finally:
            os.close(above)
    return fd
