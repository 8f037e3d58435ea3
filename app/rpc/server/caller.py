"""Finding out who calls, and telling the connection once its caller is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from app.rpc.server.gate import Credentials, Gate

PEER = "peer"
"""Where a scope's state has the connection."""


class Peer(Protocol):
    """A connection as far as it concerns the wire."""

    certified: bool
    """Whether it presented a certificate."""
    signing_in: bool
    """Whether the caller's credentials are being looked up."""

    def signed_in(self) -> None:
        """Lift the limits for callers that are not known."""


async def open_caller(gate: Gate, scope: Mapping[str, Any], credentials: Credentials) -> Any:
    """Return the caller's context; the connection then counts as signed in. Raises what the gate raises."""
    peer: Peer | None = scope.get("state", {}).get(PEER)
    if peer is None:
        return await gate.open(credentials)
    peer.signing_in = True
    try:
        context = await gate.open(replace(credentials, certified=peer.certified))
    finally:
        peer.signing_in = False
    peer.signed_in()
    return context
