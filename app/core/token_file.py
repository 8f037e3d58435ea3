"""Token files: only their owner may read them, and a new one never replaces a file."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
from pathlib import Path

_TOKEN_BYTES = 64 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class TokenFileExposed(PermissionError):
    """Other users may read or write a token file; ``next_step`` is the command that corrects its mode."""

    def __init__(self, path: Path, mode: int) -> None:
        text = f"other users may read or write it (mode {stat.S_IMODE(mode):04o}), and it holds a token"
        super().__init__(errno.EPERM, text, str(path))
        self.next_step = f"chmod 600 {shlex.quote(str(path))}"

    def __str__(self) -> str:
        """Return the message with the file's name."""
        return f"{self.filename} is not used: {self.strerror}"


def read_private(path: Path, limit: int) -> bytes:
    """Return the first ``limit`` bytes of a file with tokens. Raises OSError and TokenFileExposed.

    The mode of a pipe says nothing, so it is not checked. On a read-only mount the group may read, because a cluster
    mounts a Secret that way for a container that does not run as root.
    """
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        status = os.fstat(number)
        if stat.S_ISREG(status.st_mode) and status.st_mode & _OTHERS:
            is_secret_mount = os.fstatvfs(number).f_flag & os.ST_RDONLY and not status.st_mode & _OTHERS & ~stat.S_IRGRP
            if not is_secret_mount:
                raise TokenFileExposed(path, status.st_mode)
        return file.read(limit)


def read_token(path: Path) -> str:
    """Return the token in a file. Raises OSError and TokenFileExposed."""
    try:
        token = read_private(path, _TOKEN_BYTES).decode().strip()
    except UnicodeDecodeError:
        raise OSError(errno.EINVAL, "it holds no token", str(path)) from None
    if not token:
        raise OSError(errno.EINVAL, "it is empty", str(path))
    return token


class NewTokenFile:
    """A file that is created before its token, so that no token is made that cannot be stored.

    Raises OSError, and FileExistsError when the path exists, even as a symbolic link.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(number, 0o600)  # the umask may have removed more
        self._file = os.fdopen(number, "w")

    def write(self, token: str) -> None:
        """Write the token and close the file. Raises OSError."""
        with self._file:
            self._file.write(f"{token}\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def remove(self) -> None:
        """Remove the file, because no token was made."""
        with contextlib.suppress(OSError):  # closing may fail to flush, and the content is not needed
            self._file.close()
        self.path.unlink(missing_ok=True)
