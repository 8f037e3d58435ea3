"""Servers of an older release: during an upgrade some replicas do not know a procedure yet that others have."""

from __future__ import annotations

import time

from app.rpc.client.errors import NO_SUCH_PROCEDURE, CallError

UPGRADE_SECONDS = 30.0
"""How long another replica is looked for: a balancer or the next origin may lead to an upgraded one."""


class Patience:
    """How long a call is tried again because the replicas that answer do not know its procedure."""

    def __init__(self) -> None:
        self._until: float | None = None

    def allows(self, error: CallError) -> bool:
        """Whether to ask another replica after this error."""
        if error.reason != NO_SUCH_PROCEDURE:
            return False
        now = time.monotonic()
        if self._until is None:
            self._until = now + UPGRADE_SECONDS
        return now < self._until

    def renew(self) -> None:
        """Note that a replica knew the procedure."""
        self._until = None
