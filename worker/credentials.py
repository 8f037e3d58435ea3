"""What of the worker's own environment and HOME an agent needs, and nothing else, given to a job."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from worker.agents.base import Needs


def lend(needs: Needs, home: Path, also: Iterable[str] = ()) -> dict[str, str]:
    """Copy an agent's credential files into a job's HOME; return the variables it gets, ``also`` included."""
    for name in needs.files:
        source = Path.home() / name
        if source.is_file():
            target = home / name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o600)
    names = (*needs.variables, *needs.elsewhere, *needs.passed, *also)
    return {name: os.environ[name] for name in names if name in os.environ}
