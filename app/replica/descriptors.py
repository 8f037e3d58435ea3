"""File descriptors: as many as the system allows, with some kept back for everything that is not a connection."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

_MOST = 1 << 20
_SPARE = 32
"""For log files, name look-ups and connections that are being accepted or refused."""
_LEAST_CONNECTIONS = 8


def raise_limit() -> int:
    """Raise the number of files that this process may open to the hard limit; return the number that holds then."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(ValueError, OSError):  # macOS refuses more than it has, whatever the hard limit says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else soft


def room_for_connections(limit: int, pool_size: int) -> int:
    """Return how many client connections fit, beside the files that are open now and the pool of the database."""
    open_now = sum(1 for _ in Path("/dev/fd").iterdir())
    return max(_LEAST_CONNECTIONS, limit - open_now - pool_size - _SPARE)
