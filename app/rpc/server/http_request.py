"""Reads an HTTP request of the wire: the caller, the procedures and their inputs (tRPC v11).

The caller is looked up before the body is read, so the body of an unknown caller costs no memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from app.rpc.envelope import ABSENT
from app.rpc.errors import ProcedureError
from app.rpc.server.gate import Credentials, Gate, WireLimits, open_caller
from app.rpc.server.registry import Registry
from app.rpc.server.requests import check_params, no_json, too_many_calls

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_LINES = "application/jsonl"
_QUERY_FIELDS = 100


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; ``context`` and ``inputs`` hold an error where a part could not be read."""

    method: str
    paths: tuple[str, ...]
    batch: bool
    lines: bool
    """Whether each answer is sent as a JSON line as soon as it is there."""
    context: Any
    inputs: Mapping[int, Any]
    last_event_id: str | None

    def caller(self) -> Any:
        """Return the caller's context. Raises the error of its credentials."""
        if isinstance(self.context, Exception):
            raise self.context
        return self.context

    def input(self, index: int) -> Any:
        """Return the input of a call: ABSENT for none, a ProcedureError for invalid JSON."""
        return self.inputs.get(index, ABSENT)


async def read(
    registry: Registry, gate: Gate, limits: WireLimits, scope: Scope, receive: Receive, path: str
) -> HttpRequest:
    """Read a request; ``path`` follows the base path. Raises ProcedureError when the whole request is refused."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = _query(scope["query_string"].decode("latin-1"))
    method = scope["method"]
    _check_content_type(method, headers.get("content-type"))
    batch, lines = query.get("batch") == "1", _wants_lines(headers)
    if lines and not batch:
        raise ProcedureError("BAD_REQUEST", "Streaming requests must be batched (you can do a batch of 1)")
    paths = _paths(path, batch)
    if len(paths) > limits.batch_calls:
        raise too_many_calls(limits.batch_calls)
    if batch:
        _check_kinds(registry, paths)
    credentials = Credentials(
        headers.get("authorization"), _connection_params(query), paths[0] if len(paths) == 1 else None
    )
    try:
        context: Any = await open_caller(gate, scope, credentials)
    except Exception as error:  # noqa: BLE001 - each call gets this error under its own path
        context, inputs = error, {}
    else:
        if not gate.is_known(context):
            limits = replace(limits, body_bytes=limits.opening_bytes, body_seconds=limits.opening_seconds)
        text: bytes | str = query.get("input", "") if method == "GET" else await _body_in_time(limits, receive, headers)
        inputs = _inputs(text, batch, len(paths))
    last_event_id = headers.get("last-event-id") or query.get("lastEventId") or query.get("Last-Event-Id")
    return HttpRequest(method, paths, batch, lines, context, inputs, last_event_id or None)


def _wants_lines(headers: Mapping[str, str]) -> bool:
    accepted = (part.strip() for part in headers.get("accept", "").split(","))
    return headers.get("trpc-accept") == _LINES or _LINES in accepted


def _check_content_type(method: str, header: str | None) -> None:
    kind = (header or "").partition(";")[0].strip().lower()
    if method == "GET" or kind == "application/json":
        return
    message = f'Unsupported content-type "{kind}"' if kind else "Missing content-type header"
    raise ProcedureError("UNSUPPORTED_MEDIA_TYPE", message, hint="send content-type: application/json")


def _check_kinds(registry: Registry, paths: tuple[str, ...]) -> None:
    kinds = {procedure.kind: None for path in paths if (procedure := registry.procedures.get(path))}
    if len(kinds) > 1:
        raise ProcedureError("BAD_REQUEST", f"Cannot mix procedure types in call: {', '.join(kinds)}")


def _paths(path: str, batch: bool) -> tuple[str, ...]:
    try:
        decoded = unquote(path, errors="strict").strip("/")
    except UnicodeDecodeError:
        raise ProcedureError("BAD_REQUEST", "Invalid URL-encoding in path") from None
    return tuple(decoded.split(",")) if batch else (decoded,)


def _connection_params(query: Mapping[str, str]) -> dict[str, str]:
    if "connectionParams" not in query:
        return {}
    try:
        return check_params(orjson.loads(query["connectionParams"]))
    except orjson.JSONDecodeError:
        raise ProcedureError("PARSE_ERROR", "Not JSON-parsable query params") from None


def _query(text: str) -> dict[str, str]:
    try:
        return dict(reversed(parse_qsl(text, keep_blank_values=True, max_num_fields=_QUERY_FIELDS)))
    except ValueError:
        raise ProcedureError(
            "BAD_REQUEST", f"the query has more than {_QUERY_FIELDS} fields", reason="limit_exceeded"
        ) from None


async def _body_in_time(limits: WireLimits, receive: Receive, headers: Mapping[str, str]) -> bytes:
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _body(limits, receive, headers)
    except TimeoutError:
        raise ProcedureError(
            "TIMEOUT", f"the body did not come within {limits.body_seconds:g} s", reason="limit_exceeded"
        ) from None


async def _body(limits: WireLimits, receive: Receive, headers: Mapping[str, str]) -> bytes:
    limit = limits.body_bytes
    announced = headers.get("content-length", "0")
    size = int(announced) if announced.isdigit() else 0
    parts: list[bytes] = []
    more = size <= limit
    size = 0 if more else size
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProcedureError("CLIENT_CLOSED_REQUEST", "the request was not sent to its end")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = bool(message.get("more_body")) and size <= limit
    if size > limit:
        raise ProcedureError(
            "PAYLOAD_TOO_LARGE",
            f"the body is larger than {limit} bytes",
            reason="limit_exceeded",
            hint="send less in one call",
            limit=limit,
        )
    return b"".join(parts)


def _inputs(text: bytes | str, batch: bool, count: int) -> dict[int, Any]:
    """Return the inputs by call; a call whose input cannot be read has a ProcedureError."""
    if not text:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return dict.fromkeys(range(count), no_json(error))
    if not batch:
        return {0: value}
    if not isinstance(value, dict):
        failure = ProcedureError("BAD_REQUEST", '"input" needs to be an object when doing a batch call')
        return dict.fromkeys(range(count), failure)
    return {index: value[str(index)] for index in range(count) if str(index) in value}
