"""The client's end of the wire: ``HttpClient`` for single calls, ``Client`` for calls and subscriptions at once.

It imports no server library, and ``websockets`` only when ``Client`` connects.
"""

from __future__ import annotations

from app.rpc.client.errors import CallError, NoAnswer, UnusableAnswer
from app.rpc.client.files import Transfer
from app.rpc.client.http import HttpClient
from app.rpc.client.socket import Client, State
from app.rpc.client.subscription import Item
from app.rpc.envelope import ABSENT

__all__ = ["ABSENT", "CallError", "Client", "HttpClient", "Item", "NoAnswer", "State", "Transfer", "UnusableAnswer"]
