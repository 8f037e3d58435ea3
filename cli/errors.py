"""Errors of commands: one line says what happened, one line the next step; the exit code is from ``exits``."""

from __future__ import annotations

from typing import Any, NoReturn

from app.rpc.client import CallError, NoAnswer
from cli import exits
from cli.invocation import as_typed

_SERVER_STEP = "correct the named field"
"""The server's hint for a refused input. It addresses programs; for a person the fields are options."""


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


def fail(error: Exception) -> NoReturn:
    """Raise the error of a server's part or of its database as an error of the command."""
    step = getattr(error, "next_step", "see the message")
    raise CliError(str(error), step, exits.INFRASTRUCTURE, "server") from error
