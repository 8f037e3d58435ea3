"""How ado starts its own modules, and in which directories it looks for other programs.

Python's isolated mode (``-I``) keeps the working directory, ``PYTHON*`` variables and the user's own packages out of
the module search path: a repository in which a command runs must not provide modules. A relative or empty entry of
``PATH`` means the working directory too, and for git that is a repository.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this installation."""
    return [sys.executable, "-I", "-m", name, *arguments]


def absolute_path(path: str) -> str:
    """Return a value of ``PATH`` without its relative entries."""
    return os.pathsep.join(entry for entry in path.split(os.pathsep) if Path(entry).is_absolute())


def search_path() -> str:
    """Return this process's ``PATH``, or the system's default, without its relative entries."""
    return absolute_path(os.environ.get("PATH", os.defpath))
