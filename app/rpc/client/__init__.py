"""The client's end of the wire: ``HttpClient`` for single calls, ``Client`` for calls and subscriptions at once.

It imports no server library, and ``websockets`` only when ``Client`` connects. Each name is imported when it is first
used: a command that sends one call needs no asyncio.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.rpc.client.errors import CallError, NoAnswer, UnusableAnswer
    from app.rpc.client.files import Transfer
    from app.rpc.client.http import HttpClient
    from app.rpc.client.items import Item, State
    from app.rpc.client.socket import Client
    from app.rpc.envelope import ABSENT

__all__ = ["ABSENT", "CallError", "Client", "HttpClient", "Item", "NoAnswer", "State", "Transfer", "UnusableAnswer"]
_MODULES = {
    "ABSENT": "app.rpc.envelope",
    "CallError": "app.rpc.client.errors",
    "Client": "app.rpc.client.socket",
    "HttpClient": "app.rpc.client.http",
    "Item": "app.rpc.client.items",
    "NoAnswer": "app.rpc.client.errors",
    "State": "app.rpc.client.items",
    "Transfer": "app.rpc.client.files",
    "UnusableAnswer": "app.rpc.client.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
