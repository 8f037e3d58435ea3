"""AgentCheck an agent's program, and the options that a task may set for every agent."""

from __future__ import annotations

import errno
import os
import re
import shutil

from app.core.programs import search_path
from worker.agents.base import Run

_STATUS = re.compile(r"""(?:\bstatus:? |"code":\s*|\b[Ee]rror:? )([45]\d\d)\b""")


def find(program: str) -> str:
    """Return the path of a program on PATH. Raises FileNotFoundError."""
    found = shutil.which(program, path=search_path())
    if found is None:
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)} on PATH", program)
    return found


def model_option(run: Run, option: str) -> list[str]:
    """Return the option that chooses the model that the task's agentArgs name."""
    model = run.args.get("model")
    return [option, str(model)] if model else []


def status_in(message: str) -> int | None:
    """Return the HTTP status that an error's text names."""
    found = _STATUS.search(message)
    return int(found[1]) if found else None
