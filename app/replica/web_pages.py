"""The dashboard: static files that every replica serves to browsers, under a strict Content-Security-Policy.

They are built from ``app/web`` into ``app/web/dist``: ``index.html``, and below ``assets`` files with hashed names,
which may have compressed copies beside them (``.br``, ``.gz``). The page gets everything else through the API, with a
token. The files themselves are open to everybody, because they hold nothing of the installation.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from litestar import asgi
from litestar.handlers import ASGIRouteHandler

from app.rpc import envelope
from app.rpc.errors import ProcedureError
from app.rpc.server.calls import error_shape
from app.rpc.server.http import pieces, respond
from app.rpc.server.http_request import Receive, Scope, Send

BUILT = Path(__file__).parents[1] / "web" / "dist"
PAGES = ("/inbox", "/tasks", "/schedules", "/workers", "/health", "/new")
"""Pages of the dashboard besides ``/``; the program in ``index.html`` shows each, and what is below it."""

_ASSETS = "/assets"
_PAGE = re.compile(rf"/|(?:{'|'.join(PAGES)})(?:/.*)?", re.DOTALL)
_ASSET = re.compile(rf"{_ASSETS}/([A-Za-z0-9_-][A-Za-z0-9_.-]{{0,199}})", re.ASCII)
_KINDS = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".ico": b"image/x-icon",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".map": b"application/json",
    ".png": b"image/png",
    ".svg": b"image/svg+xml",
    ".woff2": b"font/woff2",
}
_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; "  # WebSockets of the same host too
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY = [
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
_FOR_EVER = b"public, max-age=31536000, immutable"  # another content has another name
_NOT_BUILT = b"""The dashboard is not built here.

In a checkout of ado, build it with Node 20 or newer and reload this page:

    cd app/web && npm ci && npm run build
"""


def dashboard_routes(built: Path = BUILT) -> list[ASGIRouteHandler]:
    """Return the routes of the dashboard."""

    @asgi("/", copy_scope=False)
    async def start(scope: Any, receive: Any, send: Any) -> None:
        await _serve(built, scope, send)

    @asgi([*PAGES, _ASSETS], is_mount=True, copy_scope=False)
    async def pages(scope: Any, receive: Receive, send: Any) -> None:
        await _serve(built, scope, send)

    return [start, pages]


async def _serve(built: Path, scope: Scope, send: Send) -> None:
    """Answer one request for a page or an asset."""
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    asset = _ASSET.fullmatch(path)
    if asset is None and not _PAGE.fullmatch(path):
        await _refuse(send, ProcedureError("NOT_FOUND", "there is no such page", reason="no_such_page"))
    elif scope["method"] not in ("GET", "HEAD"):
        message = "the dashboard's files are fetched with GET"
        await _refuse(send, ProcedureError("METHOD_NOT_SUPPORTED", message), [(b"allow", b"GET, HEAD")])
    elif asset is not None:
        await _send_file(built / "assets" / asset[1], scope, send, caching=_FOR_EVER)
    elif (built / "index.html").is_file():
        await _send_file(built / "index.html", scope, send, caching=b"no-cache")
    else:
        await _send_body(scope, send, 404, _NOT_BUILT, [(b"content-type", b"text/plain; charset=utf-8")])


async def _send_file(path: Path, scope: Scope, send: Send, *, caching: bytes) -> None:
    """Send a file, or the smallest copy of it that the browser reads."""
    kind = _KINDS.get(path.suffix)
    chosen, encoding = _copy_of(path, dict(scope["headers"]).get(b"accept-encoding", b""))
    try:
        body = await asyncio.to_thread(chosen.read_bytes) if kind else None
    except OSError:
        body = None
    if kind is None or body is None:  # perhaps another version of it is on another replica: nobody may remember this
        await _refuse(send, ProcedureError("NOT_FOUND", "there is no such file", reason="no_such_page"))
        return
    headers = [(b"content-type", kind), (b"cache-control", caching), (b"vary", b"accept-encoding")]
    await _send_body(scope, send, 200, body, headers + ([(b"content-encoding", encoding)] if encoding else []))


def _copy_of(path: Path, accepted: bytes) -> tuple[Path, bytes]:
    """Return the file to send and its encoding; empty: none."""
    names = {
        name.strip()
        for name, _, quality in (part.partition(";") for part in accepted.decode("latin-1").lower().split(","))
        if quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    }
    for encoding, suffix in _ENCODINGS:
        copy = path.with_name(path.name + suffix)
        if encoding in names and copy.is_file():
            return copy, encoding.encode()
    return path, b""


async def _send_body(scope: Scope, send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers = [*_SECURITY, *headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["method"] == "GET":
        for piece in pieces(body):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, error: ProcedureError, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    uncached = (b"cache-control", b"no-store")
    await respond(send, error.status, envelope.error(error_shape(error, None)), [uncached, *(headers or [])])
