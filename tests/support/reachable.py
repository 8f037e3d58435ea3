"""Letting other users enter a test's directory."""

import tempfile
from pathlib import Path


def open_to_others(directory):
    """Let every user enter a directory and what is above it, up to the system's own directory for such files."""
    top = Path(tempfile.gettempdir())
    for part in (directory, *directory.parents):
        if part == top:
            return
        part.chmod(0o755)
