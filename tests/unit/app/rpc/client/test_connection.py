"""How a WebSocket is opened and closed, and what its user is told when that fails."""

import asyncio
import contextlib
import ssl

import pytest
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.frames import Close
from websockets.http11 import Response
from websockets.protocol import State

from app.rpc.client import connection
from app.rpc.client.connection import close_socket, open_socket, send, why_ended
from app.rpc.client.tls import SYSTEM, TrustUnusable


@contextlib.asynccontextmanager
async def server(on_request=None, on_socket=None):
    """Serve WebSockets; note the head of each request."""
    heads = []

    def note(_connection, request):
        heads.append(request)
        return on_request(request) if on_request else None

    async def stay(socket):
        await (on_socket(socket) if on_socket else socket.wait_closed())

    async with serve(stay, "127.0.0.1", 0, process_request=note, ping_interval=None) as made:
        yield f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}", heads


async def test_a_socket_is_opened_at_the_origin_with_the_token_alone():
    async with server() as (url, heads):
        for token in ("secret", None):
            socket = await open_socket(url, token, SYSTEM)
            await close_socket(socket)
    first, second = heads
    assert first.path == second.path == "/trpc"
    assert first.headers["authorization"] == "Bearer secret"
    assert "authorization" not in second.headers
    assert "sec-websocket-extensions" not in first.headers


async def test_a_token_follows_no_redirect_to_another_origin():
    async with server() as (other, foreign):

        def redirect(_request):
            location = "ws" + other.removeprefix("http") + "/trpc"
            return Response(307, "Temporary Redirect", Headers({"Location": location, "Content-Length": "0"}))

        async with server(redirect) as (url, heads):
            with pytest.raises(InvalidStatus) as caught:
                await open_socket(url, "secret", SYSTEM)
        assert (len(heads), foreign) == (1, [])
    assert why_ended(caught.value) == "the server answers HTTP 307 and takes no WebSocket; check the address"


async def test_an_https_origin_is_called_with_tls():
    hello = asyncio.get_running_loop().create_future()

    async def accept(reader, writer):
        hello.set_result(await reader.readexactly(1))
        writer.close()

    made = await asyncio.start_server(accept, "127.0.0.1", 0)
    with contextlib.suppress(OSError, EOFError):
        await open_socket(f"https://127.0.0.1:{made.sockets[0].getsockname()[1]}", "secret", SYSTEM)
    assert await hello == b"\x16"  # the first byte of a TLS handshake
    made.close()


async def test_a_frame_is_sent_unless_the_connection_has_ended():
    frames = []

    async def read(socket):
        frames.extend([frame async for frame in socket])

    async with server(on_socket=read) as (url, _):
        socket = await open_socket(url, None, SYSTEM)
        await send(socket, "early")
        await close_socket(socket)
        await send(socket, "late")
    assert frames == ["early"]


@pytest.mark.timeout(20)
async def test_a_peer_that_takes_no_close_frame_is_reset(monkeypatch):
    """The server's side does not read: its answer to the close frame never comes."""
    monkeypatch.setattr(connection, "_RESET_SECONDS", 0.05)
    over = asyncio.Event()

    async def deaf(socket):
        socket.transport.pause_reading()
        await over.wait()
        socket.transport.abort()

    async with server(on_socket=deaf) as (url, _):
        socket = await open_socket(url, None, SYSTEM)
        socket.close_timeout = 3600
        await close_socket(socket)
        assert socket.state is State.CLOSED
        over.set()


def refusal(status, body):
    return InvalidStatus(Response(status, "", Headers(), body))


def invalid(cause):
    error = InvalidMessage("no HTTP")
    error.__cause__ = cause
    return error


def untrusted():
    error = ssl.SSLCertVerificationError()
    error.verify_message = "self-signed"
    return error


NO_SOCKET = "the server answers HTTP 502 and takes no WebSocket; check the address"
NO_ERRORS = (None, b"<html>", b"{}", b"[]", b'{"error":1}', b'{"error":{}}', b"\xff")
REASONS = [
    (refusal(401, b'{"error":{"message":"the token has expired"}}'), "the token has expired"),
    *((refusal(502, body), NO_SOCKET) for body in NO_ERRORS),
    (invalid(EOFError()), "the connection was closed without an answer; if that lasts, check http:// or https://"),
    (invalid(ValueError()), "the answer is not HTTP; check http:// or https:// and the port"),
    (ConnectionClosedError(Close(1012, "the server stops"), None), "the server stops"),
    (ConnectionClosedError(Close(1006, ""), None), "the connection was closed"),
    (ConnectionClosedError(None, None), "the connection was closed"),
    (ConnectionRefusedError(111, "refused"), "[Errno 111] refused"),
    (TimeoutError(), "TimeoutError"),
    (InvalidHandshake("strange"), "strange"),
    (TrustUnusable("ca.pem: no usable CA"), "ca.pem: no usable CA"),
    (untrusted(), "the server's certificate is not trusted (self-signed); name its CA with --ca or ADO_CA"),
    (RuntimeError("a fault of the client"), None),
]  # fmt: skip


@pytest.mark.parametrize(("error", "why"), REASONS, ids=range(len(REASONS)))
def test_the_reason_of_an_end_is_a_sentence_for_people(error, why):
    assert why_ended(error) == why
