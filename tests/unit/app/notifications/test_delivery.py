"""One delivery, to real sockets that behave well and badly."""

import asyncio
import contextlib

import pytest

from app.notifications.addresses import parse_url
from app.notifications.delivery import DeliveryFailed, post

HOSTS = frozenset({"127.0.0.1"})


@contextlib.asynccontextmanager
async def receiver(answer, *, read_all=True):
    """A receiver that answers each connection with bytes; gives its port and what it received."""
    received, served = [], asyncio.Semaphore(0)

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        received.append(head + (await reader.readexactly(length) if read_all else b""))
        if answer is None:
            await reader.read()  # until the sender gives up
        writer.write(answer or b"")
        writer.close()
        served.release()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], received
    finally:
        server.close()
        for _ in received:
            await served.acquire()


async def send(port, body=b"{}", timeout=5.0):
    url = parse_url(f"http://127.0.0.1:{port}/x?y", HOSTS)
    await post(url, {"webhook-id": "n"}, body, named_hosts=HOSTS, timeout=timeout)


async def test_a_delivery_is_one_post():
    async with receiver(b"HTTP/1.1 204 No Content\r\n\r\n") as (port, received):
        await send(port, b"body")
    (request,) = received
    assert request.startswith(b"POST /x?y HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{port}".encode() in request.lower()
    assert request.endswith(b"\r\n\r\nbody")


async def test_an_interim_answer_is_skipped():
    async with receiver(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n") as (port, _):
        await send(port)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 500 Oops\r\n\r\n", "HTTP 500"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n", "redirects are not followed"),
        (b"SSH-2.0-x\r\n", "not HTTP"),
        (b"", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "not HTTP"),
    ],
)
async def test_any_other_answer_is_a_failure(answer, error):
    async with receiver(answer) as (port, received):
        with pytest.raises(DeliveryFailed, match=error):
            await send(port)
    assert len(received) == 1


async def test_a_receiver_that_answers_without_reading_has_answered():
    async with receiver(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\n\r\n", read_all=False) as (port, _):
        with pytest.raises(DeliveryFailed, match=r"HTTP 413|cannot connect"):
            await send(port, b"x" * 8_000_000)


async def test_a_receiver_that_never_answers_is_given_up():
    async with receiver(None) as (port, _):
        with pytest.raises(DeliveryFailed, match=r"no answer within 0\.2 s"):
            await send(port, timeout=0.2)


async def test_a_receiver_that_is_away_is_named_as_such():
    async with receiver(b"") as (port, _):
        pass
    with pytest.raises(DeliveryFailed, match="cannot connect"):
        await send(port)


async def test_a_private_address_is_checked_at_the_delivery_as_well():
    url = parse_url("https://127.0.0.1:1/", HOSTS)
    with pytest.raises(DeliveryFailed, match="public internet"):
        await post(url, {}, b"", named_hosts=frozenset())
