"""The steps of a call that every transport shares: check the right and the input, call, encode."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import orjson

from app.rpc import request_id
from app.rpc.envelope import ABSENT
from app.rpc.errors import CODES, HINTS, ProcedureError
from app.rpc.server.gate import Gate
from app.rpc.server.procedure import Procedure, Tracked

_log = logging.getLogger("ado.rpc")


def encode(value: Any) -> bytes:
    """Return a value as JSON; an ``orjson.Fragment`` is copied unchanged."""
    return orjson.dumps(value, default=msgspec.to_builtins)


def error_shape(error: ProcedureError, path: str | None) -> bytes:
    """Return an error in the JSON that tRPC clients read."""
    number = CODES[error.code][0]
    data: dict[str, Any] = {"code": error.code, "httpStatus": error.status}
    if path is not None:
        data["path"] = path
    data["reason"] = error.reason or error.code.lower()
    data["hint"] = error.hint or HINTS.get(error.code, "see GET /trpc/ado.d.ts for what a procedure takes")
    data.update(error.data)
    return orjson.dumps({"message": error.message, "code": number, "data": data}, default=str)


def to_procedure_error(gate: Gate, error: Exception, path: str | None) -> ProcedureError:
    """Return the error that the caller gets for an exception. An unknown exception is logged, and its text hidden."""
    if isinstance(error, ProcedureError):
        return error
    explained = gate.explain(error)
    if explained is not None:
        return explained
    _log.error("call failed", exc_info=error, extra={"path": path})
    name = request_id.current.get()
    return ProcedureError(
        "INTERNAL_SERVER_ERROR",
        "the server failed to carry out the call",
        reason="internal",
        hint=f"try again; if it stays, the server's log has the cause under request {name}",
        requestId=name,
    )


def admit(gate: Gate, context: Any, procedure: Procedure, value: Any) -> tuple[Any, ...]:
    """Check the right, then the input; return the handler's arguments after the context."""
    gate.allow(context, procedure)
    if isinstance(value, ProcedureError):
        raise value
    return procedure.decode(None if value is ABSENT else value)


async def execute(gate: Gate, context: Any, procedure: Procedure, value: Any) -> bytes | None:
    """Execute a query or mutation; return its answer as JSON, None for undefined."""
    try:
        output = await procedure.handler(context, *admit(gate, context, procedure, value))
    except ProcedureError as error:
        gate.refused(context, procedure, value, error)
        raise
    return None if output is ABSENT else encode(output)


def check_size(size: int, limit: int) -> None:
    """Raise PAYLOAD_TOO_LARGE for an answer above the limit."""
    if size > limit:
        raise ProcedureError(
            "PAYLOAD_TOO_LARGE",
            f"the answer is larger than {limit} bytes",
            reason="limit_exceeded",
            hint="ask for less, or in several calls; the limit is the server's ADO_ANSWER_BYTES",
            limit=limit,
        )


def subscribe(gate: Gate, context: Any, procedure: Procedure, value: Any) -> AsyncIterator[Any]:
    """Return the items of a subscription. Raises ProcedureError when it is refused."""
    try:
        arguments = admit(gate, context, procedure, value)
    except ProcedureError as error:
        gate.refused(context, procedure, value, error)
        raise
    iterator: AsyncIterator[Any] = procedure.handler(context, *arguments)
    return iterator


def with_last_event_id(value: Any, last_event_id: str | None) -> Any:
    """Return a subscription's input with ``lastEventId``, as tRPC sends it."""
    if last_event_id is None:
        return value
    if value is ABSENT or value is None:
        return {"lastEventId": last_event_id}
    return {**value, "lastEventId": last_event_id} if isinstance(value, dict) else value


def encode_item(item: Any) -> tuple[str | None, bytes]:
    """Return an item's id (None for an untracked one) and its data as JSON."""
    if isinstance(item, Tracked):
        return item.id, encode(item.data)
    return None, encode(item)
