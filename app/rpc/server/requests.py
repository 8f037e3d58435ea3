"""Parses and checks the frames that a client sends on a WebSocket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from app.rpc.envelope import ABSENT
from app.rpc.errors import ProcedureError

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_NULL = msgspec.Raw(b"null")
_SPACE = " \t\r\n"
_KINDS = frozenset({"query", "mutation", "subscription"})


@dataclass(frozen=True, slots=True)
class Request:
    """One call, or the end of a subscription when ``method`` is ``subscription.stop``."""

    id: Any
    method: str
    path: str = ""
    raw_input: bytes | None = None
    """The input in JSON; as objects it would take many times the memory while the call waits or runs."""
    last_event_id: str | None = None
    jsonrpc: bool = False

    def input(self) -> Any:
        """Return the input: ABSENT for none, a ProcedureError for invalid JSON."""
        if self.raw_input is None:
            return ABSENT
        try:
            return orjson.loads(self.raw_input)
        except orjson.JSONDecodeError as error:
            return no_json(error)


def no_json(error: orjson.JSONDecodeError) -> ProcedureError:
    """Return the error for an input that is not JSON."""
    return ProcedureError("BAD_REQUEST", f"the input is not JSON: {error}", reason="invalid_input")


def too_many_calls(limit: int) -> ProcedureError:
    """Return the error of more calls at once than the limit."""
    return ProcedureError("BAD_REQUEST", "Batch call exceeds maximum size", reason="limit_exceeded", limit=limit)


def _bad(message: str) -> ProcedureError:
    return ProcedureError("PARSE_ERROR", message)


class TooManyCalls(Exception):
    """A frame has too many calls to answer each with a refusal."""


def parse_frame(text: str, *, limit: int) -> list[Request]:
    """Return the requests of a frame: one, or a list of at most ``limit``.

    Raises PARSE_ERROR for the whole frame when one entry is malformed, and TooManyCalls.
    """
    try:
        if not text.lstrip(_SPACE).startswith("["):
            return [_request(text)]
        entries = _LIST.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise _bad("The frame is not JSON") from None
    if len(entries) > limit:
        raise TooManyCalls
    return [_request(entry) for entry in entries]


def parse_connection_params(text: str) -> dict[str, str]:
    """Return the connectionParams of a socket's first frame. Raises PARSE_ERROR."""
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _bad("Malformed TRPCConnectionParamsMessage") from None
    if not isinstance(frame, dict) or frame.get("method") != "connectionParams":
        raise _bad("Invalid connection params shape")
    return check_params(frame.get("data"))


def check_params(params: Any) -> dict[str, str]:
    """Return connectionParams, whose names and values are strings. Raises PARSE_ERROR."""
    if params is None:
        return {}
    if not isinstance(params, dict) or not all(isinstance(value, str) for value in params.values()):
        raise _bad("Invalid connection params shape")
    return params


def _request(text: str | msgspec.Raw) -> Request:
    entry = _members(text)
    if _value(entry, "jsonrpc") not in (None, "2.0"):
        raise _bad("Must be JSONRPC 2.0")
    method, name = _value(entry, "method"), _value(entry, "id")
    if not isinstance(method, str) or (method != "subscription.stop" and method not in _KINDS):
        raise _bad("Invalid procedure type")
    if name is None:
        raise _bad("`id` is required")
    if isinstance(name, bool) or not isinstance(name, (int, float, str)):
        raise _bad("Invalid request id")
    jsonrpc = "jsonrpc" in entry
    if method == "subscription.stop":
        return Request(name, method, jsonrpc=jsonrpc)
    params = _members(entry.get("params", _NULL))
    path, last = _value(params, "path"), _value(params, "lastEventId")
    if not isinstance(path, str) or not isinstance(last, (str, type(None))):
        raise _bad("Invalid string")
    raw = params.get("input")
    return Request(name, method, path, None if raw is None else bytes(raw), last, jsonrpc)


def _members(text: str | msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _OBJECT.decode(text)
    except msgspec.ValidationError:
        raise _bad("Not an object") from None


def _value(members: dict[str, msgspec.Raw], name: str) -> Any:
    raw = members.get(name)
    if raw is None:
        return None
    try:
        return orjson.loads(memoryview(raw))
    except orjson.JSONDecodeError:
        raise _bad("The frame is not JSON") from None
