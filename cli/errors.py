"""Errors of commands: one line says what happened, one line the next step; the exit code is from ``exits``."""

from __future__ import annotations

import errno
import os
from typing import Any, NoReturn

from app.rpc.client import CallError, NoAnswer
from cli import exits
from cli.invocation import as_typed

_SERVER_STEP = "correct the named field"
"""The server's hint for a refused input. It addresses programs; for a person the fields are options."""
_SYSTEM_STEPS = {
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
_OTHER_SYSTEM_STEP = "try again; ADO_DEBUG=1 shows where it happened"


class CliError(Exception):
    """A failure that the user can do something about."""

    def __init__(self, message: str, next_step: str, exit_code: int, reason: str = "usage") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.exit_code = exit_code
        self.reason = reason

    def as_json(self) -> dict[str, Any]:
        """Return the error for ``-o json``."""
        error = {
            "message": as_typed(self.message),
            "reason": self.reason,
            "hint": as_typed(self.next_step),
            "exitCode": self.exit_code,
        }
        return {"error": error}


def usage(message: str, next_step: str = "see ado --help") -> CliError:
    """Return the error of a wrong command line."""
    return CliError(message, next_step, exits.USAGE)


def nearest(word: str, known: list[str], cutoff: float = 0.6) -> str:
    """Return ``; did you mean X?`` if a known word is close to what was typed, else nothing."""
    import difflib

    matches = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"; did you mean {matches[0]}?" if matches else ""


def translate(error: CallError | NoAnswer) -> CliError:
    """Return the error of a failed call: its message, next step and exit code."""
    if isinstance(error, NoAnswer):
        return CliError(
            f"no ado server answers: {error}",
            "check the address (ado context list, ADO_URL), or start one here: ado up",
            exits.INFRASTRUCTURE,
            "unreachable",
        )
    code = exits.of_call(error.code)
    step = error.hint or "see ado --help"
    if error.reason == "invalid_input" and step == _SERVER_STEP:
        step = "correct that option; --help after the command lists its options"
    return CliError(error.message, step, code, error.reason or error.code.lower())


def refused(error: OSError) -> CliError:
    """Return the error of a failed system call."""
    where = f": {os.fspath(error.filename)!r}" if isinstance(error.filename, (str, bytes)) else ""
    message = f"the system refused: {error.strerror or error}{where}"
    return CliError(message, _SYSTEM_STEPS.get(error.errno or 0, _OTHER_SYSTEM_STEP), exits.INFRASTRUCTURE, "system")


def fail(error: Exception) -> NoReturn:
    """Raise the error of a server's part or of its database as an error of the command."""
    step = getattr(error, "next_step", "see the message")
    raise CliError(str(error), step, exits.INFRASTRUCTURE, "server") from error
