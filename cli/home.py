"""Where state and configuration live: all under ADO_HOME when that is set, else the platform's data directory.

What lies there is believed: the address of a server, and the file of the token that is sent to it. So the directory
must be the user's own, or root's, and nobody else may write into it.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from app.private import Foreign, check_owner
from cli.errors import usage

_ELSEWHERE = "name a directory of your own with ADO_HOME"


def home() -> Path:
    """Return the directory of the embedded control plane's state, made or not. Raises CliError."""
    directory = _chosen()
    try:
        check_owner(directory, directory.lstat())
        found = directory.stat()
        check_owner(directory, found)
    except Foreign as error:
        raise usage(f"the state in {directory} is not used: {error.strerror}", _ELSEWHERE) from error
    except OSError:
        return directory  # it is not there yet, or whoever uses it says what is wrong
    if found.st_mode & stat.S_IWOTH:
        raise usage(
            f"the state in {directory} is not used: every user may write into it",
            f"chmod go-w {directory}, or {_ELSEWHERE}",
        )
    return directory


def _chosen() -> Path:
    if chosen := os.environ.get("ADO_HOME"):
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0 and sys.platform == "linux":
        return Path("/var/lib/ado")  # root's own directory is closed to the user that Postgres runs as
    import platformdirs

    return Path(platformdirs.user_data_dir("ado", appauthor=False))


def config_file() -> Path:
    """Return the file of the contexts."""
    return home() / "contexts.json"


def ensure_home() -> Path:
    """Make the directory if it is not there; others may pass through root's, because Postgres must."""
    directory = home()
    directory.mkdir(parents=True, exist_ok=True, mode=0o755 if os.geteuid() == 0 else 0o700)
    found = directory.stat()
    if found.st_uid == os.geteuid() and found.st_mode & stat.S_IWGRP:
        directory.chmod(stat.S_IMODE(found.st_mode) & ~stat.S_IWGRP)
    return home()
