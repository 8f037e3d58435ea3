"""What a server takes, as it says at registration; the sizes that a worker keeps to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CHUNK_BYTES = 64 * 1024
BATCH_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits of one server: bytes of a chunk of output, and events of a batch."""

    chunk_bytes: int = CHUNK_BYTES
    batch_events: int = BATCH_EVENTS

    @classmethod
    def of(cls, registration: Mapping[str, Any]) -> ServerLimits:
        """Read them from an answer of workers.register; a server of an older release does not name them."""
        return cls(
            min(CHUNK_BYTES, int(registration.get("eventBytes", CHUNK_BYTES))),
            min(BATCH_EVENTS, int(registration.get("batchEvents", BATCH_EVENTS))),
        )
