"""Queries and mutations over HTTP: GET and POST, one call or a batch (tRPC v11 over plain ASGI)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from app.rpc import envelope
from app.rpc.calls import answer, error_shape, told
from app.rpc.envelope import ABSENT
from app.rpc.errors import ProcedureError
from app.rpc.gate import Credentials, Gate, Limits
from app.rpc.registry import Registry
from app.rpc.requests import check_params

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
_METHOD = {"query": "GET", "mutation": "POST", "subscription": "GET"}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as far as it was read."""

    method: str
    paths: tuple[str, ...]
    batch: bool
    inputs: Mapping[int, Any]
    credentials: Credentials


class HttpWire:
    """Answers HTTP requests below the base path."""

    def __init__(self, registry: Registry, gate: Gate, limits: Limits) -> None:
        self._registry = registry
        self._gate = gate
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """Answer one request; ``path`` is what stands after the base."""
        if scope["method"] == "HEAD":
            await _respond(send, 204, b"")
            return
        try:
            exchange = await self._read(scope, receive, path)
        except ProcedureError as error:
            await _respond(send, error.status, envelope.error(error_shape(error, None)))
            return
        answers = await asyncio.gather(
            *(self._call(exchange, index, name) for index, name in enumerate(exchange.paths))
        )
        statuses = {status for status, _ in answers}
        status = statuses.pop() if len(statuses) == 1 else 207
        bodies = [body for _, body in answers]
        await _respond(send, status, b"[" + b",".join(bodies) + b"]" if exchange.batch else bodies[0])

    async def _read(self, scope: Scope, receive: Receive, path: str) -> Exchange:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        method = scope["method"]
        _check_content_type(method, headers.get("content-type"))
        batch = query.get("batch") == "1"
        paths = _paths(path, batch)
        if len(paths) > self._limits.batch_calls:
            raise ProcedureError("BAD_REQUEST", "Batch call exceeds maximum size", reason="limit_exceeded")
        credentials = Credentials(headers.get("authorization"), _connection_params(query))
        if batch:
            self._check_kinds(paths)
        text: bytes | str = query.get("input", "") if method == "GET" else await self._body(receive, headers)
        return Exchange(method, paths, batch, _inputs(text, batch, len(paths)), credentials)

    def _check_kinds(self, paths: tuple[str, ...]) -> None:
        found = (self._registry.procedures.get(path) for path in paths)
        kinds = {procedure.kind: None for procedure in found if procedure}
        if len(kinds) > 1:
            raise ProcedureError("BAD_REQUEST", f"Cannot mix procedure types in call: {', '.join(kinds)}")

    async def _body(self, receive: Receive, headers: Mapping[str, str]) -> bytes:
        limit = self._limits.body_bytes
        announced = headers.get("content-length", "0")
        parts: list[bytes] = []
        size = int(announced) if announced.isdigit() else 0
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

    async def _call(self, exchange: Exchange, index: int, path: str) -> tuple[int, bytes]:
        try:
            procedure = self._registry.find(path)
            if _METHOD[procedure.kind] != exchange.method:
                message = f'Unsupported {exchange.method}-request to {procedure.kind} procedure at path "{path}"'
                raise ProcedureError("METHOD_NOT_SUPPORTED", message)
            if procedure.kind == "subscription":
                raise ProcedureError("BAD_REQUEST", "a subscription needs a WebSocket")
            context = await self._gate.open(exchange.credentials)
            value = exchange.inputs.get(index, ABSENT)
            if isinstance(value, ProcedureError):
                raise value
            return 200, envelope.result(await answer(self._gate, context, procedure, value))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an envelope
            failure = told(self._gate, error, path)
            return failure.status, envelope.error(error_shape(failure, path))


def _check_content_type(method: str, header: str | None) -> None:
    kind = (header or "").partition(";")[0].strip().lower()
    if method == "GET" or kind == "application/json":
        return
    message = f'Unsupported content-type "{kind}"' if kind else "Missing content-type header"
    raise ProcedureError("UNSUPPORTED_MEDIA_TYPE", message, hint="send content-type: application/json")


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


def _inputs(text: bytes | str, batch: bool, count: int) -> dict[int, Any]:
    """Return each call's input; what cannot be read is the error of the calls it belongs to."""
    if not text:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        failure = ProcedureError("BAD_REQUEST", "the input is not JSON", reason="invalid_input")
        return dict.fromkeys(range(count), failure)
    if not batch:
        return {0: value}
    if not isinstance(value, dict):
        failure = ProcedureError("BAD_REQUEST", '"input" needs to be an object when doing a batch call')
        return dict.fromkeys(range(count), failure)
    return {index: value[str(index)] for index in range(count) if str(index) in value}


async def _respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"vary", b"trpc-accept, accept")]
    if body:
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
