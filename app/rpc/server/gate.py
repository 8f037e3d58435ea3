"""The interface between the wire and its application: who calls, and what a caller may do.

Every transport keeps this order: find the procedure, open the caller, allow, check the input, call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from app.rpc.errors import ProcedureError
from app.rpc.server.procedure import Procedure


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of a request or an upgrade."""

    authorization: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    """connectionParams of tRPC."""
    path: str | None = None
    """The procedure or page, where it is known before the caller is."""
    certified: bool = False
    """Whether the connection's peer presented a certificate that the server's client CA signed."""


class Gate(Protocol):
    """What the application decides for the wire."""

    async def open(self, credentials: Credentials) -> Any:
        """Return the context for a caller. Raises ProcedureError UNAUTHORIZED."""

    def is_known(self, context: Any) -> bool:
        """Return whether the caller has shown who it is; one that has not keeps the limits for unknown callers."""

    def allow(self, context: Any, procedure: Procedure) -> None:
        """Raise ProcedureError FORBIDDEN unless the caller may call the procedure."""

    async def check(self, context: Any) -> None:
        """Raise ProcedureError UNAUTHORIZED once the caller of an open socket is no longer valid."""

    def explain(self, error: Exception) -> ProcedureError | None:
        """Return the error that a caller gets for an exception of the application; None hides the exception."""

    def refused(self, context: Any, procedure: Procedure, value: Any, error: ProcedureError) -> None:
        """Record the refused call of a known caller; ``value`` is its input as it was sent."""

    def observe(self, path: str, transport: str, code: str, seconds: float) -> None:
        """Record a call that ended with ``code``: OK or that of its error. Subscriptions count when they end."""


@dataclass(frozen=True, slots=True)
class WireLimits:
    """Limits of one replica's wire, in bytes, seconds and counts."""

    body_bytes: int = 4 * 1024 * 1024
    opening_bytes: int = 64 * 1024
    """Of a frame before the socket is authenticated."""
    opening_seconds: float = 5.0
    """Time to send connectionParams."""
    body_seconds: float = 60.0
    """Time for a whole request body to arrive."""
    batch_calls: int = 100
    batch_running: int = 4
    """Calls of one HTTP batch that run at once; each holds its answer in memory."""
    answer_bytes: int = 32 * 1024 * 1024
    """Of one answer, and of all answers of an HTTP batch together."""
    unsent_bytes: int = 64 * 1024 * 1024
    """Of the answers on one socket that the client has not taken."""
    pings_per_second: int = 100
    """On one socket. Further PING texts are read at this rate; further ping frames end the socket."""
    subscriptions: int = 100
    """On one socket."""
    calls: int = 1000
    """In flight on one socket."""
    running: int = 32
    """Calls of one socket that run, or whose answer the client has not taken; the other calls wait."""
    call_bytes: int = 64 * 1024 * 1024
    """Of the calls in flight on one socket."""
    recheck_seconds: float = 4.0
    """Time between two checks of the caller of an open socket or stream."""
    quiet_seconds: float = 30.0
    """Silence of a socket's client after which it gets a PING."""
    answer_seconds: float = 10.0
    """Time for an answer to the PING; then the connection is cut."""
    last_seconds: float = 5.0
    """Time for a client to take the last frame; then its connection is cut."""
    ping_seconds: float = 10.0
    """Time between pings on an event stream; clients reconnect after a longer silence."""


PEER = "peer"
"""The name of the connection in the state of an ASGI scope."""


class Connection(Protocol):
    """What the wire reads and sets of a connection."""

    certified: bool
    """Whether the client presented a certificate."""
    signing_in: bool
    """Whether the caller's credentials are being checked."""

    def signed_in(self) -> None:
        """Lift the limits for unknown callers."""


async def open_caller(gate: Gate, scope: Mapping[str, Any], credentials: Credentials) -> Any:
    """Return the caller's context, and note at the connection that its caller is known. Raises as ``Gate.open``."""
    peer: Connection | None = scope.get("state", {}).get(PEER)
    if peer is None:
        return await gate.open(credentials)
    peer.signing_in = True
    try:
        context = await gate.open(replace(credentials, certified=peer.certified))
    finally:
        peer.signing_in = False
    if gate.is_known(context):
        peer.signed_in()
    return context
