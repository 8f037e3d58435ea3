"""Who makes a change; the statement that makes the change writes it to the audit."""

from __future__ import annotations

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change, by which call; it becomes a row of ado.audit in the transaction of the change."""

    procedure: str
    user_id: str | None = None
    token_id: str | None = None
    address: str | None = None
    request_id: str | None = None
    name: str | None = None
    """The name of the user or service, for events and lists."""
    account: str | None = None
    """Public id of the user, or of the service's token; it differs from ``token_id`` in a session of the dashboard."""

    def __post_init__(self) -> None:
        """Fill in the account of a caller that acts for itself."""
        if self.account is None:
            object.__setattr__(self, "account", self.user_id or self.token_id)


def parameter(actor: Actor | None) -> str | None:
    """Return an actor as the parameter ``actor`` of a statement; None writes no row."""
    return None if actor is None else orjson.dumps(actor).decode()
