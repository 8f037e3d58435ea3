"""What a client sends on a WebSocket, checked before anything is done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from app.rpc.envelope import ABSENT
from app.rpc.errors import ProcedureError

_KINDS = frozenset({"query", "mutation", "subscription"})


@dataclass(frozen=True, slots=True)
class Request:
    """One call, or with ``method`` ``subscription.stop`` the end of one."""

    id: Any
    method: str
    path: str = ""
    input: Any = ABSENT
    last_event_id: str | None = None
    jsonrpc: bool = False


def _bad(message: str) -> ProcedureError:
    return ProcedureError("PARSE_ERROR", message)


class TooManyCalls(Exception):
    """A frame has so many calls that not even a refusal of each is due."""


def parse_frame(text: str, *, most: int) -> list[Request]:
    """Read a frame: a request or a list of them. One bad entry spoils the list: PARSE_ERROR. Raises TooManyCalls."""
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _bad("The frame is not JSON") from None
    if not isinstance(frame, list):
        return [_request(frame)]
    if len(frame) > most:
        raise TooManyCalls
    return [_request(entry) for entry in frame]


def parse_connection_params(text: str) -> dict[str, str]:
    """Read the first frame of a socket that announced connectionParams. Raises PARSE_ERROR."""
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _bad("Malformed TRPCConnectionParamsMessage") from None
    if not isinstance(frame, dict) or frame.get("method") != "connectionParams":
        raise _bad("Invalid connection params shape")
    return check_params(frame.get("data"))


def check_params(params: Any) -> dict[str, str]:
    """Return connection params: names and values are strings, or there are none. Raises PARSE_ERROR."""
    if params is None:
        return {}
    if not isinstance(params, dict) or not all(isinstance(value, str) for value in params.values()):
        raise _bad("Invalid connection params shape")
    return params


def _request(entry: Any) -> Request:
    if not isinstance(entry, dict):
        raise _bad("Not an object")
    if entry.get("jsonrpc") not in (None, "2.0"):
        raise _bad("Must be JSONRPC 2.0")
    method, name = entry.get("method"), entry.get("id")
    if method != "subscription.stop" and method not in _KINDS:
        raise _bad("Invalid procedure type")
    if name is None:
        raise _bad("`id` is required")
    if isinstance(name, bool) or not isinstance(name, (int, float, str)):
        raise _bad("Invalid request id")
    jsonrpc = "jsonrpc" in entry
    if method == "subscription.stop":
        return Request(name, method, jsonrpc=jsonrpc)
    params = entry.get("params")
    if not isinstance(params, dict):
        raise _bad("Not an object")
    path, last = params.get("path"), params.get("lastEventId")
    if not isinstance(path, str) or not isinstance(last, (str, type(None))):
        raise _bad("Invalid string")
    return Request(name, str(method), path, params.get("input", ABSENT), last, jsonrpc)
