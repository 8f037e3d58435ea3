"""Directories and files that no other user of the machine owns, may write or, where they hold secrets, may read.

In a shared place such as ``/tmp``, another user may create a directory, file or symbolic link first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path


class ForeignOwner(PermissionError):
    """The file or directory at a path belongs to another user."""


_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def ensure_directory(path: Path) -> None:
    """Create a directory with mode 0700, or check an existing one and remove the right of others to write into it.

    Raises OSError, and ForeignOwner when the directory, or a symbolic link in its place, belongs to another user. A
    directory of root is accepted unchanged: an administrator, or a cluster, made it for us.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    check_owner(path, path.lstat())
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        status = os.fstat(directory)
        check_owner(path, status)
        if status.st_uid == os.geteuid() and status.st_mode & _OTHERS_WRITE:
            os.fchmod(directory, stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)
    finally:
        os.close(directory)


def check_owner(path: Path, status: os.stat_result) -> None:
    """Raise ForeignOwner unless the file with this status belongs to this process's user or to root."""
    if status.st_uid not in (0, os.geteuid()):
        raise ForeignOwner(errno.EPERM, f"it belongs to another user (uid {status.st_uid})", str(path))


def write_file(path: Path, data: bytes) -> None:
    """Replace a file atomically by one with mode 0600. Raises OSError."""
    number, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    staging = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise


def open_log(path: Path) -> int:
    """Open a file for appending and set its mode to 0600; return its descriptor. Older releases used another mode.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
