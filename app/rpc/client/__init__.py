"""The client's end of the wire, for the CLI and the worker: ``HttpClient`` for single calls, ``Client`` for streams.

Imports no server library; what ``Client`` needs is imported when it connects.
"""

from __future__ import annotations

from app.rpc.client.errors import CallError, InvalidAnswer, Unreachable
from app.rpc.client.files import Transfer
from app.rpc.client.http import HttpClient
from app.rpc.client.socket import Client, State
from app.rpc.client.stream import Item
from app.rpc.envelope import ABSENT

__all__ = ["ABSENT", "CallError", "Client", "HttpClient", "InvalidAnswer", "Item", "State", "Transfer", "Unreachable"]
