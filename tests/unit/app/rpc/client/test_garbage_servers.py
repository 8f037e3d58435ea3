"""Whatever answers in place of a server: the clients raise NoAnswer with a sentence, in time, and nothing else."""

import asyncio
import contextlib
import gzip
import time

import pytest

from app.rpc.client import CallError, Client, HttpClient, NoAnswer, reading

HTML = b"<html><body>502 Bad Gateway</body></html>"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def whole(body, head=HEAD):
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


SERVERS = {
    "closes at once": b"",
    "half a head": b"HTTP/1.1 20",
    "half a body": HEAD + b"content-length: 100\r\n\r\n{",
    "half a chunk": HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{",
    "no chunk": HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "HTML": whole(HTML, b"HTTP/1.1 502 Bad Gateway\r\n"),
    "no JSON": whole(b"{"),
    "an array": whole(b"[]"),
    "null": whole(b"null"),
    "no result": whole(b'{"result":null}'),
    "gzip": whole(gzip.compress(b'{"result":{"data":1}}'), HEAD + b"content-encoding: gzip\r\n"),
    "nothing": HEAD + b"content-length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "TLS": b"\x15\x03\x03\x00\x02\x02\x28",
    "bytes": bytes(range(256)) * 10,
    "not UTF-8": whole(b'{"result":{"data":"\xff"}}'),
    "a length too large": HEAD + b"content-length: 9999999999999999999\r\n\r\n{}",
    "a length that is none": HEAD + b"content-length: -5\r\n\r\n{}",
    "a status that is none": b"HTTP/1.1 abc\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a long line": b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
}


@contextlib.asynccontextmanager
async def serving(answer):
    """Serve every connection by a function of its writer."""

    serving_now, ended = set(), False

    def accept(reader, writer):
        if ended:  # it was accepted just before, and nobody would wait for its task
            writer.transport.abort()
            return
        serving_now.add(task := asyncio.create_task(serve(reader, writer)))
        task.add_done_callback(serving_now.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # if it never began

    async def serve(reader, writer):
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                await answer(writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        ended = True
        server.close()
        for task in list(serving_now):
            task.cancel()
        await asyncio.gather(*serving_now, return_exceptions=True)


async def error_text(client, call="query"):
    """Return what the HTTP client says, and how long it took."""
    began = time.monotonic()
    with contextlib.closing(client), pytest.raises(NoAnswer) as caught:
        await asyncio.to_thread(getattr(client, call), "a.null", {"x": 1})
    return str(caught.value), time.monotonic() - began


@pytest.mark.parametrize("name", SERVERS)
async def test_the_http_client_reports_an_answer_that_is_not_of_ado(name):
    async def answer(writer):
        writer.write(SERVERS[name])
        await writer.drain()

    async with serving(answer) as url:
        for call in ("query", "mutate"):
            text, _ = await error_text(HttpClient([url], "t", timeout=5), call)
            assert text.startswith(f"{url}: ")
            assert text.isprintable()
            assert len(text) < 200


@pytest.mark.parametrize("name", [*SERVERS, "upgraded"])
async def test_the_socket_client_reports_garbage_and_survives_it(name):
    sent = SERVERS.get(name, b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n" + b"x" * 100)

    async def answer(writer):
        writer.write(sent)
        await writer.drain()

    states = []
    async with (
        serving(answer) as url,
        Client([url], "t", on_state=states.append, first_contact_seconds=0.05) as client,
    ):
        with pytest.raises(NoAnswer) as caught:
            await asyncio.wait_for(client.query("a.null"), 20)
        assert str(caught.value).isprintable()
        assert not client._runner.done()
    assert states
    assert all(state.kind == "lost" and state.detail for state in states)


async def test_a_connection_closed_without_an_answer_is_reported():
    async def answer(writer):
        pass

    states = []
    async with (
        serving(answer) as url,
        Client([url], "t", on_state=states.append, first_contact_seconds=0.0) as client,
    ):
        with pytest.raises(NoAnswer, match="closed without an answer"):
            await asyncio.wait_for(client.query("a.null"), 20)
    assert "not HTTP" not in states[0].detail


async def drip(writer, head=b""):
    writer.write(head)
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nx: ", HEAD + b"content-length: 100000\r\n\r\n",
     HEAD + b"transfer-encoding: chunked\r\n\r\nfffff\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 3],
)  # fmt: skip
async def test_a_slow_answer_ends_at_the_time_limit(head):
    async with serving(lambda writer: drip(writer, head)) as url:
        text, took = await error_text(HttpClient([url], "t", timeout=0.2))
        assert "timed out" in text
        assert took < 10


async def test_an_endless_answer_takes_bounded_memory(monkeypatch):
    monkeypatch.setattr(reading, "ANSWER_BYTES", 1 << 20)

    async def answer(writer):
        writer.write(HEAD + b"\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serving(answer) as url:
        text, _ = await error_text(HttpClient([url], "t", timeout=5))
    assert "larger than" in text


WRONG = ("http://", "http://127.0.0.1:99999", "http://[::1", "http://a b", "ftp://x", "http://\udcff", "", "x")


@pytest.mark.parametrize("url", WRONG)
async def test_an_invalid_address_is_unreachable(url):
    await error_text(HttpClient([url], "t", timeout=2))
    async with Client([url], "t", first_contact_seconds=0.1) as client:
        with pytest.raises(NoAnswer):
            await asyncio.wait_for(client.query("a.null"), 20)


async def test_a_token_that_no_header_can_carry_is_unreachable(served):
    for token in ("a\nb", "ü€"):
        await error_text(HttpClient([served.url], token, timeout=2))


async def test_tls_to_a_plain_server_is_reported(served):
    url = served.url.replace("http", "https")
    text, _ = await error_text(HttpClient([url], "t", timeout=5))
    assert "SSL" in text
    async with Client([url], "t", first_contact_seconds=0.1) as client:
        with pytest.raises(NoAnswer):
            await asyncio.wait_for(client.query("a.null"), 20)


async def test_the_clients_still_work_with_a_real_server(served):
    """Many calls on one connection, and answers that are large."""
    with contextlib.closing(HttpClient([served.url], "writer", timeout=5)) as client:
        for size in (1, 100_000, 10):
            answer = await asyncio.to_thread(client.query, "a.greet", {"name": "x", "count": size})
            assert answer["hello"] == "x" * size
        with pytest.raises(CallError):
            await asyncio.to_thread(client.query, "a.refuse")
