"""The limits of a replica's connections, from its settings."""

from __future__ import annotations

from app.replica.connections import Room
from app.replica.descriptors import raise_limit, room_for_connections
from app.rpc.server.gate import Limits
from app.settings import AppSettings

_SHARE_OF_ADDRESS = 0.75
"""Of all connections, where few files may be open: one address must leave some to the others."""


def wire_limits(settings: AppSettings) -> Limits:
    """Return the bounds of the wire."""
    return Limits(
        body_bytes=settings.body_bytes,
        body_seconds=settings.body_seconds,
        opening_bytes=settings.opening_bytes,
        opening_seconds=settings.opening_seconds,
        batch_calls=settings.batch_calls,
        answer_bytes=settings.answer_bytes,
        unsent_bytes=settings.unsent_bytes,
        pings_per_second=settings.pings_per_second,
    )


def room(settings: AppSettings) -> Room:
    """Raise the limit of open files, and return how many connections there may be."""
    connections = min(settings.connections, room_for_connections(raise_limit(), settings.pool_size))
    return Room(
        connections=connections,
        of_address=min(settings.address_connections, int(connections * _SHARE_OF_ADDRESS)),
        opening_of_address=settings.opening_connections,
        stalled_seconds=settings.stalled_seconds,
    )
