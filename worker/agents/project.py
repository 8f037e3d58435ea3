"""The files of a repository for an agent: instructions, which are always read, and settings, which need trust.

Settings name programs (hooks, MCP servers, plugins), endpoints and permissions. The author of the repository would run
them on the worker, with the agent's credentials.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from worker.agents.base import Run

_INSTRUCTION_BYTES = 256 * 1024


def project_directories(run: Run) -> list[Path]:
    """Return the directories from the repository's top to the agent's; without a repository only the agent's."""
    above = [run.directory, *run.directory.parents]
    top = next((number for number, directory in enumerate(above) if os.path.lexists(directory / ".git")), 0)
    return above[top::-1]


def instructions(run: Run, name: str) -> list[Path]:
    """Return the instruction files that the agent would read by itself, without links and too large files."""
    files = [directory / name for directory in project_directories(run)]
    return [file for file in files if _is_plain(file) and file.stat().st_size <= _INSTRUCTION_BYTES]


def _is_plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def refuse_settings(run: Run, names: Sequence[str], program: str) -> None:
    """Raise OSError if the repository has settings that a program cannot be made to ignore."""
    settings = [str(directory / name) for directory in project_directories(run) for name in names
             if os.path.lexists(directory / name)]  # fmt: skip
    if settings:
        listed = ", ".join(os.path.relpath(path, project_directories(run)[0]) for path in settings)
        message = f"{program} would follow the repository's own settings ({listed}); if you trust them: --trust-project"
        raise OSError(errno.EPERM, message)
