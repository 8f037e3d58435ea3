"""Errors of system calls, each with its next step."""

from __future__ import annotations

import errno
import os

from cli import exits
from cli.errors import CliError

_STEPS = {
    errno.ENOSPC: "free some space, or name another directory",
    errno.EDQUOT: "free some space, or have the quota raised",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EROFS: "name a directory that can be written to",
    errno.EACCES: "check the rights of that path, or name another one",
    errno.EPERM: "check the rights of that path, or name another one",
    errno.ENOENT: "check that path, or name another one",
    errno.ENOTDIR: "check that path, or name another one",
    errno.EISDIR: "check that path, or name another one",
    errno.ELOOP: "check that path, or name another one",
    errno.ENAMETOOLONG: "name a shorter path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs: the system has too many open files",
    errno.EAGAIN: "raise the limit of processes (ulimit -u), or close other programs",
    errno.ENOMEM: "close other programs: there is no memory left",
    errno.E2BIG: "give long texts by a file or by stdin",
}
_OTHERWISE = "try again; ADO_DEBUG=1 shows where it happened"


def refused(error: OSError) -> CliError:
    """Return the error of a failed system call."""
    where = f": {os.fspath(error.filename)!r}" if isinstance(error.filename, (str, bytes)) else ""
    message = f"the system refused: {error.strerror or error}{where}"
    return CliError(message, _STEPS.get(error.errno or 0, _OTHERWISE), exits.INFRASTRUCTURE, "system")
