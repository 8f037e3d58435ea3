"""What subscriptions give, over a WebSocket or as server-sent events: items, and changes of the connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a subscription; ``id`` is the cursor to resume after."""

    id: str | None
    data: Any


class State(NamedTuple):
    """A change of the connection: ``connected``, ``lost``, or ``moving`` when the server asks to connect again."""

    kind: str
    url: str
    detail: str = ""
