"""Files as HTTP bodies: ``GET /files/FILE_ID`` with ranges, and ``PUT /files/FILE_ID``, which continues at an offset.

Bytes are stored by ``files.write`` and read by ``files.read``, piece by piece, with the rights, fences and errors of
these procedures; the caller is checked again before each piece. A replica holds one piece of a body, reads no faster
than Postgres stores, and sends no faster than the client takes. It keeps nothing between requests, so any replica
continues.
Failures: what was stored of a torn upload stays until the file is pruned, and is not visible before ``files.commit``.
An answer that cannot be completed ends with the connection, and its client asks for the rest.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from app.core.reasons import refusal
from app.procedures import files
from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.server.calls import encode, error_shape, to_procedure_error
from app.rpc.server.gate import Credentials, Gate, WireLimits, open_caller
from app.rpc.server.http import pieces, respond
from app.rpc.server.http_request import Receive, Scope, Send
from app.rpc.server.registry import Registry
from db.files import File

BASE = "/files"
_FILE = re.compile(rf"{BASE}/(file-[0-9a-f]{{32}})", re.ASCII)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_METHODS = {"GET": "files.read", "HEAD": "files.read", "PUT": "files.write"}


class RangeOutsideFile(ProcedureError):
    """A range that has no byte of a file of ``size`` bytes."""

    status = 416

    def __init__(self, size: int) -> None:
        hint = "ask for bytes that the file has; files.list says its size"
        super().__init__(
            "BAD_REQUEST", f"range: the file has {size} bytes", reason="invalid_input", hint=hint, field="range"
        )
        self.size = size


class FileBodies:
    """Answers requests below ``BASE``."""

    def __init__(self, registry: Registry, gate: Gate, limits: WireLimits) -> None:
        self._registry = registry
        self._gate = gate
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started, code, answering = time.perf_counter(), "OK", False
        path = _METHODS.get(scope["method"], "files.read")

        async def answer(message: Any) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self._serve(scope, path, receive, answer)
        except Exception as error:  # noqa: BLE001 - every failure is answered, or ends the answer
            failure = to_procedure_error(self._gate, error, path)
            code = failure.code
            if not answering:
                headers = []
                if isinstance(failure, RangeOutsideFile):
                    headers.append((b"content-range", b"bytes */%d" % failure.size))
                await respond(send, failure.status, envelope.error(error_shape(failure, path)), headers)
        finally:
            self._gate.observe(path, "body", code, time.perf_counter() - started)

    async def _serve(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        context = await open_caller(self._gate, scope, Credentials(headers.get("authorization"), path=path))
        procedure, value = self._registry.procedures[path], {}
        try:
            self._gate.allow(context, procedure)
            value = {"fileId": _file_id(scope)}
            if scope["method"] == "PUT":
                await self._store(context, value["fileId"], headers, receive, send)
            else:
                await self._send(context, value["fileId"], headers, receive, send, whole=scope["method"] == "GET")
        except ProcedureError as error:
            self._gate.refused(context, procedure, value, error)
            raise

    async def _send(
        self, context: Any, file_id: str, headers: dict[str, str], receive: Receive, send: Send, *, whole: bool
    ) -> None:
        file = await files.readable_file(context, file_id)
        asked = None if headers.get("if-range", _tag(file)) != _tag(file) else headers.get("range")
        span = None if asked is None else parse_range(asked, file.size)
        first, end = span or (0, file.size)
        answer = [
            (b"accept-ranges", b"bytes"),
            (b"cache-control", b"private"),
            (b"content-length", b"%d" % (end - first)),
            (b"content-type", b"application/octet-stream"),
            (b"etag", _tag(file).encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        if span is not None:
            answer.append((b"content-range", b"bytes %d-%d/%d" % (first, end - 1, file.size)))
        await send({"type": "http.response.start", "status": 200 if span is None else 206, "headers": answer})
        gone = asyncio.create_task(_gone(receive))
        try:
            async for data in self._read(context, file_id, first, end if whole else first):
                for part in pieces(data):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                if gone.done():  # uvicorn drops what is sent to a client that has left
                    return
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def _read(self, context: Any, file_id: str, first: int, end: int) -> AsyncIterator[bytes]:
        while first < end:
            await self._gate.check(context)
            data = await files.read_piece(context, await files.readable_file(context, file_id), first)
            yield data[: end - first]
            first += len(data)

    async def _store(self, context: Any, file_id: str, headers: dict[str, str], receive: Receive, send: Send) -> None:
        file = await files.writable_file(context, file_id)
        offset, end = _offsets(headers.get("content-range"), file)
        async for data in self._body(receive):
            await self._gate.check(context)
            offset = (await files.store_piece(context, file, offset, data)).received
        if offset != end:
            raise refusal("invalid_input", f"the body ends at {offset} instead of {end}", field="content-range")
        begun = files.Begun(file_id=file_id, received=offset, chunk_bytes=files.CHUNK_BYTES)
        await respond(send, 200, envelope.result(encode(begun)))

    async def _body(self, receive: Receive) -> AsyncIterator[bytes]:
        """Yield a body in pieces; each has as long to arrive as the body of a call."""
        buffer, more = bytearray(), True
        while more:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    while more and len(buffer) < files.CHUNK_BYTES:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            raise ProcedureError("CLIENT_CLOSED_REQUEST", "the request was not sent to its end")
                        buffer += message.get("body", b"")
                        more = bool(message.get("more_body"))
            except TimeoutError:
                text = f"no piece of the body came within {self._limits.body_seconds:g} s"
                raise ProcedureError("TIMEOUT", text, reason="limit_exceeded") from None
            while len(buffer) >= files.CHUNK_BYTES or (buffer and not more):
                yield bytes(buffer[: files.CHUNK_BYTES])
                del buffer[: files.CHUNK_BYTES]


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the first byte of a Range and the one after its last; None for a form that is not served.

    Raises RangeOutsideFile.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]) or (match[1] and match[2] and int(match[1]) > int(match[2])):
        return None
    if match[1]:
        first, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    else:
        first, end = max(0, size - int(match[2])), size
    if first < end:
        return first, end
    raise RangeOutsideFile(size)


def _offsets(header: str | None, file: File) -> tuple[int, int]:
    """Return the first byte that a body brings and the one after its last."""
    if header is None:
        return 0, file.size
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None or int(match[3]) != file.size or not int(match[1]) <= int(match[2]) < file.size:
        message = f"content-range: it must be bytes FIRST-LAST/{file.size}"
        raise refusal("invalid_input", message, field="content-range")
    return int(match[1]), int(match[2]) + 1


def _file_id(scope: Scope) -> str:
    if scope["method"] not in _METHODS:
        raise ProcedureError("METHOD_NOT_SUPPORTED", "a file is read with GET or HEAD, and sent with PUT")
    raw = scope.get("raw_path") or scope["path"].encode()
    match = _FILE.fullmatch(raw.decode("latin-1").partition("?")[0])
    if match is None:
        raise refusal("no_such_file", f"a file's path is {BASE}/ and its fileId")
    return match[1]


def _tag(file: File) -> str:
    return f'"{file.sha256.hex()}"'


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
