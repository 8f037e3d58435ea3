"""The errors of a call at the client: the server answered with an error, or no answer came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

NO_SUCH_PROCEDURE = "no_such_procedure"
_UNKNOWN_PATH = (NO_SUCH_PROCEDURE, "not_found")  # older releases answer with the second on a socket


class CallError(Exception):
    """The server answered with an error; ``code`` is tRPC's, ``reason`` a stable word, ``hint`` the next step."""

    def __init__(self, message: str, data: dict[str, Any]) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        self.code = str(data.get("code", "INTERNAL_SERVER_ERROR"))
        self.reason: str | None = data.get("reason")
        self.hint: str | None = data.get("hint")

    @classmethod
    def of(cls, error: Any) -> CallError:
        """Make one from the error on the wire."""
        shape = error if isinstance(error, dict) else {}
        data = shape.get("data")
        data = data if isinstance(data, dict) else {}
        if data.get("code") == "NOT_FOUND" and data.get("reason") in _UNKNOWN_PATH:
            message = f"the server is of an older release, which has no {data.get('path', 'such procedure')}"
            hint = "upgrade the server, or use a client of its release"  # a client knows the calls of its own release
            return cls(message, {**data, "reason": NO_SUCH_PROCEDURE, "hint": hint})
        return cls(str(shape.get("message", "the server sent an error")), data)


def encode(value: Any) -> bytes:
    """Return a value as JSON. Raises CallError for a value that JSON on this wire cannot express."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        hint = "text must be valid UTF-8, an integer must fit 64 bits, and nesting has a limit"
        data = {"code": "BAD_REQUEST", "reason": "invalid_input", "hint": hint}
        raise CallError(f"the call cannot be sent: {error}", data) from error


class NoAnswer(Exception):
    """No server was reached, or the connection broke before the answer: whether the call took effect is unknown."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url}: {why}")
        self.url = url


class UnusableAnswer(NoAnswer):
    """A server answered with something that no ado server sends; the same call would fail again."""

    def __init__(self, url: str, path: str, why: Exception) -> None:
        super().__init__(url, f"the answer to {path} is not from an ado server: {why}")


Check = Callable[[str, Any], None]
"""Takes a path and an answer or item of it; raises ValueError when the value has not the procedure's shape."""
