"""How the wire asks its host who calls and what they may do. Order everywhere: find, open, allow, check input, call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from app.rpc.errors import ProcedureError
from app.rpc.server.procedure import Procedure


@dataclass(frozen=True, slots=True)
class Credentials:
    """What came with a request or an upgrade."""

    authorization: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    """connectionParams of tRPC."""
    path: str | None = None
    """What is called, where that is known before the caller is."""
    certified: bool = False
    """Whether the connection's peer presented a certificate that the server's client CA signed."""


class Gate(Protocol):
    """Given by the application."""

    async def open(self, credentials: Credentials) -> Any:
        """Return the context for a caller. Raises ProcedureError UNAUTHORIZED."""

    def allow(self, context: Any, procedure: Procedure) -> None:
        """Raise ProcedureError FORBIDDEN unless the caller may call this."""

    async def check(self, context: Any) -> None:
        """Raise ProcedureError UNAUTHORIZED once an open socket's caller is no longer valid."""

    def explain(self, error: Exception) -> ProcedureError | None:
        """Return what a caller is told of an exception of the application; None: nothing but that it happened."""

    def refused(self, context: Any, procedure: Procedure, value: Any, error: ProcedureError) -> None:
        """Take note that a call of a known caller was refused; ``value`` is its input as it was sent."""

    def observe(self, path: str, transport: str, code: str, seconds: float) -> None:
        """Take note of a call that ended: OK or the code of its error. Subscriptions are noted when they end."""


@dataclass(frozen=True, slots=True)
class WireLimits:
    """Bounds of one replica's wire, in bytes, seconds and counts."""

    body_bytes: int = 4 * 1024 * 1024
    opening_bytes: int = 64 * 1024
    """A frame before the socket is authenticated."""
    opening_seconds: float = 5.0
    """Time to send connectionParams."""
    body_seconds: float = 60.0
    """Time for a request's body to come in full."""
    batch_calls: int = 100
    batch_running: int = 4
    """Of the calls of an HTTP batch, how many run at once; each holds its answer in memory."""
    answer_bytes: int = 32 * 1024 * 1024
    """Of one answer, and of all the answers of an HTTP batch."""
    unsent_bytes: int = 64 * 1024 * 1024
    """Of the answers on one socket that the peer has not taken."""
    pings_per_second: int = 100
    """On one socket; texts beyond are read that slowly, control frames beyond end the socket."""
    subscriptions: int = 100
    """On one socket."""
    calls: int = 1000
    """In flight on one socket."""
    running: int = 32
    """Of the calls in flight, how many run or hold an answer that the peer has not taken; the others wait."""
    call_bytes: int = 64 * 1024 * 1024
    """Of the calls in flight on one socket."""
    recheck_seconds: float = 4.0
    """How often the caller of an open socket or stream is checked again."""
    quiet_seconds: float = 30.0
    """Silence of a socket's peer after which it is asked by PING."""
    answer_seconds: float = 10.0
    """Time for it to say anything; then its connection is cut."""
    last_seconds: float = 5.0
    """Time for a peer to take the last word; then its connection is cut."""
    ping_seconds: float = 10.0
    """Time between pings on an event stream; its client gives up after three without a word."""


PEER = "peer"
"""Where a scope's state has the connection."""


class Connection(Protocol):
    """A connection as far as it concerns the wire."""

    certified: bool
    """Whether it presented a certificate."""
    signing_in: bool
    """Whether the caller's credentials are being looked up."""

    def signed_in(self) -> None:
        """Lift the limits for callers that are not known."""


async def open_caller(gate: Gate, scope: Mapping[str, Any], credentials: Credentials) -> Any:
    """Return the caller's context; the connection then counts as signed in. Raises what the gate raises."""
    peer: Connection | None = scope.get("state", {}).get(PEER)
    if peer is None:
        return await gate.open(credentials)
    peer.signing_in = True
    try:
        context = await gate.open(replace(credentials, certified=peer.certified))
    finally:
        peer.signing_in = False
    peer.signed_in()
    return context
