"""The errors of the client: one tree. Each has a code, the next step, and the server's reason if it gave one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.rpc import client as wire

UNREACHABLE = "UNREACHABLE"
CHECK_URL = "check the URL and that an ado server runs there, then try again"


class AdoError(Exception):
    """Base of every error: ``code`` is tRPC's or UNREACHABLE, ``reason`` a stable word, ``hint`` the next step."""

    def __init__(self, message: str, *, code: str, reason: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.hint = hint
        self.data: dict[str, Any] = {}
        """Further members of the server's error, such as ``version`` of a version_conflict."""


class NotConfigured(AdoError):
    """No server was named, or its token file or CA cannot be used."""


class Unreachable(AdoError):
    """No server was reached, or the connection broke before the answer: whether the call took effect is unknown."""


class InvalidAnswer(Unreachable):
    """A server answered with something that no ado server sends."""


class WaitTimedOut(AdoError, TimeoutError):
    """A task did not end within the timeout; it goes on."""


class Refused(AdoError):
    """The server refused the call."""


class InvalidInput(Refused):
    """The input is invalid or too large; ``data`` names the field or the limit."""


class Unauthorized(Refused):
    """The token is missing, unknown, expired or revoked."""


class Forbidden(Refused):
    """The token's role may not do this."""


class NotFound(Refused):
    """There is no such task, worker or procedure."""


class Conflict(Refused):
    """The current state does not allow the call, such as a stale version."""


class InputClosed(Conflict):
    """The job takes no more input: the job or its input has ended, or it never had an input."""


class Unavailable(Refused):
    """The server is unavailable for the moment, for example because its database is away."""


_BY_CODE: dict[str, type[Refused]] = {
    "BAD_REQUEST": InvalidInput,
    "PARSE_ERROR": InvalidInput,
    "PAYLOAD_TOO_LARGE": InvalidInput,
    "UNAUTHORIZED": Unauthorized,
    "FORBIDDEN": Forbidden,
    "NOT_FOUND": NotFound,
    "CONFLICT": Conflict,
    "SERVICE_UNAVAILABLE": Unavailable,
}

_BY_REASON: dict[str | None, type[Refused]] = {"input_closed": InputClosed}


@contextmanager
def translated() -> Iterator[None]:
    """Raise errors of the wire as errors of this tree."""
    try:
        yield
    except wire.CallError as error:
        raise _refused(error) from error
    except wire.UnusableAnswer as error:
        raise InvalidAnswer(str(error), code=UNREACHABLE, hint=CHECK_URL) from error
    except wire.NoAnswer as error:
        raise Unreachable(str(error), code=UNREACHABLE, hint=CHECK_URL) from error


def _refused(error: wire.CallError) -> Refused:
    kind = _BY_REASON.get(error.reason) or _BY_CODE.get(error.code, Refused)
    refused = kind(error.message, code=error.code, reason=error.reason, hint=error.hint)
    refused.data = error.data
    return refused
