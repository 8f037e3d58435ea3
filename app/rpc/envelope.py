"""The JSON around calls and answers, without I/O (tRPC v11, no transformer).

Frames are joined from bytes: an event is encoded once and copied into the frames of all its readers.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

PING: Final = "PING"
PONG: Final = "PONG"
RECONNECT: Final = '{"id":null,"method":"reconnect"}'


class AbsentType:
    """The type of ABSENT, which is JavaScript's undefined and not null."""

    def __bool__(self) -> bool:
        return False


ABSENT: Final = AbsentType()


def result(data: bytes | None) -> bytes:
    """Return the body of a successful HTTP call; None is undefined."""
    return b'{"result":{}}' if data is None else b'{"result":{"data":' + data + b"}}"


def error(shape: bytes) -> bytes:
    """Return the body of a failed HTTP call."""
    return b'{"error":' + shape + b"}"


def _head(call: Any, jsonrpc: bool) -> bytes:
    return b'{"id":' + orjson.dumps(call) + (b',"jsonrpc":"2.0"' if jsonrpc else b"")


def data_frame(call: Any, data: bytes | None, *, jsonrpc: bool = False) -> str:
    """Return the frame of an answer or an item; None is undefined."""
    payload = b"" if data is None else b',"data":' + data
    return (_head(call, jsonrpc) + b',"result":{"type":"data"' + payload + b"}}").decode()


def tracked_frame(call: Any, event_id: str, data: bytes, *, jsonrpc: bool = False) -> str:
    """Return the frame of a tracked item; tRPC has its id in the result and in the data."""
    name = orjson.dumps(event_id)
    item = b'{"id":' + name + b',"data":' + data + b"}"
    return (_head(call, jsonrpc) + b',"result":{"type":"data","id":' + name + b',"data":' + item + b"}}").decode()


def state_frame(call: Any, state: str, *, jsonrpc: bool = False) -> str:
    """Return the frame for a ``state``: started or stopped."""
    return (_head(call, jsonrpc) + b',"result":{"type":"' + state.encode() + b'"}}').decode()


def error_frame(call: Any, shape: bytes, *, jsonrpc: bool = False) -> str:
    """Return the frame that ends a call with an error; ``call`` is None for an error of the connection."""
    return (_head(call, jsonrpc) + b',"error":' + shape + b"}").decode()


def stop_frame(call: int) -> str:
    """Return the frame by which a client ends a subscription."""
    return orjson.dumps({"id": call, "method": "subscription.stop"}).decode()
