"""Files that hold tokens: nobody but their owner may read them, and one is never written over another file."""

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
    """Other users may read or write a file that holds tokens; ``next_step`` is the command that helps."""

    def __init__(self, path: Path, mode: int) -> None:
        text = f"other users may read or write it (mode {stat.S_IMODE(mode):04o}), and it holds a token"
        super().__init__(errno.EPERM, text, str(path))
        self.next_step = f"chmod 600 {shlex.quote(str(path))}"

    def __str__(self) -> str:
        """Return it as one sentence."""
        return f"{self.filename} is not used: {self.strerror}"


def read_private(path: Path, limit: int) -> bytes:
    """Return what a file with tokens holds, at most ``limit`` bytes of it. Raises OSError, and TokenFileExposed.

    A pipe has no mode that says who may read it. On a read-only mount the group may read: so a cluster hands a Secret
    to a container that does not run as root.
    """
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        found = os.fstat(number)
        if stat.S_ISREG(found.st_mode) and found.st_mode & _OTHERS:
            is_handed_out = os.fstatvfs(number).f_flag & os.ST_RDONLY and not found.st_mode & _OTHERS & ~stat.S_IRGRP
            if not is_handed_out:
                raise TokenFileExposed(path, found.st_mode)
        return file.read(limit)


def read_token(path: Path) -> str:
    """Return the token that a file holds. Raises OSError, and TokenFileExposed."""
    try:
        token = read_private(path, _TOKEN_BYTES).decode().strip()
    except UnicodeDecodeError:
        raise OSError(errno.EINVAL, "it holds no token", str(path)) from None
    if not token:
        raise OSError(errno.EINVAL, "it is empty", str(path))
    return token


class NewTokenFile:
    """A file that is made for a token before there is one, so that no token is made that cannot be written down.

    Raises OSError; FileExistsError for anything that is there already, a symbolic link included.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(number, 0o600)  # whatever the umask takes away
        self._file = os.fdopen(number, "w")

    def write(self, token: str) -> None:
        """Write the token and close the file. Raises OSError."""
        with self._file:
            self._file.write(f"{token}\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def remove(self) -> None:
        """Remove the file: there is no token for it."""
        with contextlib.suppress(OSError):  # what could not be written is not wanted any more
            self._file.close()
        self.path.unlink(missing_ok=True)
