"""The error that procedures raise, and tRPC's codes with their JSON-RPC number and HTTP status."""

from __future__ import annotations

from typing import Any

CODES: dict[str, tuple[int, int]] = {
    "PARSE_ERROR": (-32700, 400),
    "BAD_REQUEST": (-32600, 400),
    "UNAUTHORIZED": (-32001, 401),
    "FORBIDDEN": (-32003, 403),
    "NOT_FOUND": (-32004, 404),
    "METHOD_NOT_SUPPORTED": (-32005, 405),
    "TIMEOUT": (-32008, 408),
    "CONFLICT": (-32009, 409),
    "PRECONDITION_FAILED": (-32012, 412),
    "PAYLOAD_TOO_LARGE": (-32013, 413),
    "UNSUPPORTED_MEDIA_TYPE": (-32015, 415),
    "UNPROCESSABLE_CONTENT": (-32022, 422),
    "TOO_MANY_REQUESTS": (-32029, 429),
    "CLIENT_CLOSED_REQUEST": (-32099, 499),
    "INTERNAL_SERVER_ERROR": (-32603, 500),
    "NOT_IMPLEMENTED": (-32603, 501),
    "SERVICE_UNAVAILABLE": (-32603, 503),
}

WIRE_REASONS = ("no_such_procedure", "no_such_page", "foreign_origin", "internal")
"""Reasons of errors that the wire itself raises."""

HINTS: dict[str, str] = {
    "METHOD_NOT_SUPPORTED": "call queries and subscriptions with GET, mutations with POST",
    "NOT_FOUND": "see GET /trpc/ado.d.ts for what there is",
    "PAYLOAD_TOO_LARGE": "send less at once",
    "TIMEOUT": "try again; send the whole request at once",
    "PARSE_ERROR": "send JSON as tRPC v11 does",
    "TOO_MANY_REQUESTS": "wait for answers before sending more",
}
"""The next step of an error without a hint, by its code."""


class ProcedureError(Exception):
    """The error of a call that its caller gets.

    ``code`` is a key of CODES, ``reason`` a stable word (default: the code), ``hint`` the next step, and ``data`` has
    further members.
    """

    def __init__(
        self, code: str, message: str, *, reason: str | None = None, hint: str | None = None, **data: Any
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.hint = hint
        self.data = data

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return CODES[self.code][1]
