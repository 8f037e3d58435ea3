"""Letting other users enter a test's directory."""

import os
import tempfile
from pathlib import Path

from support.postgres import DIRECTORY


def open_to_others(directory):
    """Let every user enter a directory and what is above it, up to this run's or the system's directory for such files.

    Those two are open to others, and the system's must also keep that everybody may write to it.
    """
    tops = [Path(os.environ[DIRECTORY]), Path(tempfile.gettempdir())]
    top = next(top for top in tops if directory.is_relative_to(top))
    for part in (directory, *directory.parents):
        if part == top:
            return
        part.chmod(0o755)
