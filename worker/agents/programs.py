"""Finding an agent's program, and the options that a task may set for every agent."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from app.program import search_path
from worker.agents.base import Run

_INSTRUCTION_BYTES = 256 * 1024
_STATUS = re.compile(r"""(?:\bstatus:? |"code":\s*|\b[Ee]rror:? )([45]\d\d)\b""")


def find(program: str) -> str:
    """Return the path of a program on PATH. Raises FileNotFoundError."""
    found = shutil.which(program, path=search_path())
    if found is None:
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)} on PATH", program)
    return found


def instructions(run: Run, name: str) -> list[Path]:
    """Return the instruction files of a name from the repository's top down to where the agent starts."""
    found = []
    for directory in project_directories(run):
        file = directory / name
        if file.is_file() and not file.is_symlink() and file.stat().st_size <= _INSTRUCTION_BYTES:
            found.append(file)
    return found


def project_directories(run: Run) -> list[Path]:
    """Return the directories from the repository's top down to where the agent starts; without one only the latter."""
    above = [run.directory, *run.directory.parents]
    top = next((number for number, directory in enumerate(above) if (directory / ".git").exists()), 0)
    return above[top::-1]


def model_option(run: Run, option: str) -> list[str]:
    """Return the option that chooses the model that the task's agentArgs name."""
    model = run.args.get("model")
    return [option, str(model)] if model else []


def status_in(message: str) -> int | None:
    """Return the HTTP status that an error's text names."""
    found = _STATUS.search(message)
    return int(found[1]) if found else None
