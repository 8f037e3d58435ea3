"""The limits of a replica's connections, from its settings and the system's limit of open files."""

from __future__ import annotations

import contextlib
import resource
from dataclasses import fields
from pathlib import Path

from app.replica.connections import ConnectionLimits
from app.rpc.server.gate import WireLimits
from app.settings import AppSettings

_SHARE_OF_ADDRESS = 0.75
"""Of all connections, where few files may be open: one address must leave some to the others."""
_MAX_FILES = 1 << 20
_SPARE_FILES = 32
"""For log files, name look-ups and connections that are being accepted or refused."""
_MIN_CONNECTIONS = 8


def wire_limits(settings: AppSettings) -> WireLimits:
    """Return the limits of the wire: the settings of the same names, and defaults."""
    names = {field.name for field in fields(WireLimits)} & {field.name for field in fields(AppSettings)}
    return WireLimits(**{name: getattr(settings, name) for name in names})


def connection_limits(settings: AppSettings) -> ConnectionLimits:
    """Raise the process's limit of open files; return the limits of connections."""
    connections = min(settings.connections, room_for_connections(raise_limit(), settings.pool_size))
    return ConnectionLimits(
        connections=connections,
        of_address=min(settings.address_connections, int(connections * _SHARE_OF_ADDRESS)),
        opening_of_address=settings.opening_connections,
        stalled_seconds=settings.stalled_seconds,
    )


def raise_limit() -> int:
    """Raise this process's limit of open files to the hard limit; return the resulting limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    maximum = _MAX_FILES if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(ValueError, OSError):  # macOS refuses more than it has, whatever the hard limit says
        resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_FILES if soft == resource.RLIM_INFINITY else soft


def room_for_connections(limit: int, pool_size: int) -> int:
    """Return how many client connections fit beside the files that are open now and the database's pool."""
    open_now = sum(1 for _ in Path("/dev/fd").iterdir())
    return max(_MIN_CONNECTIONS, limit - open_now - pool_size - _SPARE_FILES)
