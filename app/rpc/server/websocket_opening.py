"""Opening a WebSocket: the caller's credentials come with the upgrade, or in a first frame (connectionParams)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import parse_qs

from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.server.calls import to_procedure_error
from app.rpc.server.gate import Credentials, Gate, WireLimits, open_caller
from app.rpc.server.http_request import Scope
from app.rpc.server.requests import TooManyCalls, parse_connection_params, parse_frame
from app.rpc.server.websocket_frames import POLICY, ClientGone, Frames

_REFUSED_SECONDS = 1.0  # time for a refused client's first call to arrive over a slow line
_REFUSED_NEXT_SECONDS = 0.05


async def open_context(gate: Gate, limits: WireLimits, scope: Scope, frames: Frames) -> Any:
    """Return the caller's context, or close the socket with the reason and return None. Raises ClientGone."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = parse_qs(scope["query_string"].decode("latin-1"))
    try:
        params: dict[str, str] = {}
        if query.get("connectionParams") == ["1"]:
            async with asyncio.timeout(limits.opening_seconds):
                params = parse_connection_params(await _first_frame(frames, limits.opening_bytes))
        return await open_caller(gate, scope, Credentials(headers.get("authorization"), params))
    except ClientGone:
        raise
    except TimeoutError:
        await frames.close(POLICY, f"no connectionParams came within {limits.opening_seconds:g} s")
    except Exception as error:  # noqa: BLE001 - every failure is answered with an envelope
        await _refuse(frames, to_procedure_error(gate, error, None), limits.batch_calls)
    return None


async def _first_frame(frames: Frames, limit: int) -> str:
    """Return the first frame that is no ping; all frames up to it have at most ``limit`` characters."""
    size = 0
    while True:
        text = await frames.next_text()
        size += len(text)
        if size > limit:
            raise ProcedureError("PAYLOAD_TOO_LARGE", "the first frame is too large", reason="limit_exceeded")
        if text == envelope.PING:
            await frames.send(envelope.PONG)
        elif text != envelope.PONG:
            return text


async def _refuse(frames: Frames, error: ProcedureError, batch_calls: int) -> None:
    """Send the error for the socket and for the calls that arrive meanwhile, then close; all within a second."""
    await frames.send_error(None, error)
    with contextlib.suppress(TimeoutError, ProcedureError, TooManyCalls):
        async with asyncio.timeout(_REFUSED_SECONDS):
            await _refuse_calls(frames, error, batch_calls)
    await frames.close(POLICY, error.message)


async def _refuse_calls(frames: Frames, error: ProcedureError, batch_calls: int) -> None:
    """Answer calls with the error until no further one arrives. Raises TimeoutError then."""
    patience = _REFUSED_SECONDS
    while True:
        async with asyncio.timeout(patience):
            text = await frames.next_text()
        if text not in (envelope.PING, envelope.PONG):
            patience = _REFUSED_NEXT_SECONDS
            for request in parse_frame(text, limit=batch_calls):
                await frames.send_error(request.id, error, request.path, jsonrpc=request.jsonrpc)
