"""What every agent takes from the machine of its worker: its program, its credentials, and the options of a task."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from app.core.programs import search_path
from worker.agents.base import Needs, Run
from worker.agents.delays import says_limit

_STATUS = re.compile(r"""(?:\bstatus:? |"code":\s*|\b[Ee]rror:? )([45]\d\d)\b""")
_TOO_MANY = 429


def find(program: str) -> str:
    """Return the path of a program on PATH. Raises FileNotFoundError."""
    path = shutil.which(program, path=search_path())
    if path is None:
        raise FileNotFoundError(errno.ENOENT, f"{os.strerror(errno.ENOENT)} on PATH", program)
    return path


def copy_credentials(needs: Needs, home: Path, also: Iterable[str] = ()) -> dict[str, str]:
    """Copy an agent's credential files into a job's HOME; return its variables, those named in ``also`` included.

    Nothing else of the worker's own HOME and environment reaches the job.
    """
    for name in needs.files:
        source = Path.home() / name
        if source.is_file():
            target = home / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o600)
    names = (*needs.variables, *needs.elsewhere, *needs.passed, *also)
    return {name: os.environ[name] for name in names if name in os.environ}


def model_option(run: Run, option: str) -> list[str]:
    """Return the option that chooses the model that the task's agentArgs name."""
    model = run.args.get("model")
    return [option, str(model)] if model else []


def status_in(message: str) -> int | None:
    """Return the HTTP status that an error's text names, or that of a limit if the text is about one."""
    match = _STATUS.search(message)
    return int(match[1]) if match else _TOO_MANY if says_limit(message) else None
