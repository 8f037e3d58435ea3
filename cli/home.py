"""Where state and configuration live: all under ADO_HOME when that is set, else the platform's data directory.

ado trusts the files there: they name a server and the token that is sent to it. So the directory must belong to the
user or to root, and nobody else may write into it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import sys
from pathlib import Path

from app.core.private_files import ForeignOwner, check_owner
from cli.errors import usage

_ELSEWHERE = "name a directory of your own with ADO_HOME"


def home() -> Path:
    """Return the directory of the embedded control plane's state, whether it exists or not. Raises CliError."""
    directory = _chosen()
    try:
        check_owner(directory, directory.lstat())
        status = directory.stat()
        check_owner(directory, status)
    except ForeignOwner as error:
        raise usage(f"the state in {directory} is not used: {error.strerror}", _ELSEWHERE) from error
    except FileNotFoundError:
        return directory  # it does not exist yet
    except OSError as error:
        raise usage(f"the state in {directory} cannot be used: {error.strerror}", _ELSEWHERE) from error
    if not stat.S_ISDIR(status.st_mode):
        raise usage(f"the state in {directory} cannot be used: it is not a directory", _ELSEWHERE)
    if status.st_mode & stat.S_IWOTH:
        raise usage(
            f"the state in {directory} is not used: every user may write into it",
            f"chmod go-w {shlex.quote(str(directory))}, or {_ELSEWHERE}",
        )
    return directory


def _chosen() -> Path:
    if chosen := os.environ.get("ADO_HOME"):
        return _expanded(chosen).absolute()
    if os.geteuid() == 0 and sys.platform == "linux":
        return Path("/var/lib/ado")  # the user of Postgres cannot enter root's home directory
    import platformdirs

    with contextlib.suppress(RuntimeError):
        path = Path(platformdirs.user_data_dir("ado", appauthor=False))
        if path.is_absolute():  # some releases of platformdirs return ~ unexpanded
            return path
    raise usage("no home directory is known for this user", "set HOME, or ADO_HOME to a directory of your own")


def _expanded(chosen: str) -> Path:
    try:
        return Path(chosen).expanduser()
    except RuntimeError:  # ~NAME of an unknown user
        raise usage(f"the state in {chosen} cannot be used: there is no such user", _ELSEWHERE) from None


def environment() -> dict[str, str]:
    """Return the environment for a process with another working directory: ADO_HOME is absolute in it."""
    return {**os.environ, "ADO_HOME": str(_chosen())} if os.environ.get("ADO_HOME") else dict(os.environ)


def config_file() -> Path:
    """Return the file of the contexts."""
    return home() / "contexts.json"


def ensure_home() -> Path:
    """Make the directory if it is missing. Others may enter root's, because Postgres runs as another user."""
    directory = home()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o755 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        why = "it is a link to nowhere" if directory.is_symlink() else error.strerror
        raise usage(f"the state in {directory} cannot be kept: {why}", _ELSEWHERE) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise usage(f"the state in {directory} cannot be kept: it cannot be written to", _ELSEWHERE)
    status = directory.stat()
    if status.st_uid == os.geteuid() and status.st_mode & stat.S_IWGRP:
        directory.chmod(stat.S_IMODE(status.st_mode) & ~stat.S_IWGRP)
    return home()
