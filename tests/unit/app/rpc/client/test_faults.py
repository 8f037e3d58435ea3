"""The clients over links that stop, and servers that cannot serve."""

import asyncio

import pytest
from support.link import Link
from support.wire import Gate, Served

from app.rpc.client import CallError, Client, HttpClient, socket
from app.rpc.client import subscription as client_subscription
from app.rpc.server.gate import WireLimits


@pytest.fixture
async def away():
    gate = Gate()
    gate.away = True
    async with Served(gate, WireLimits()) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch):
    """A client that notices silence in a moment."""
    monkeypatch.setattr(socket, "_PING_SECONDS", 0.1)
    monkeypatch.setattr(socket, "_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(socket, "_WATCH_SECONDS", 0.05)


@pytest.fixture
def link(served):
    with Link(("127.0.0.1", served.port)) as made:
        yield made


@pytest.mark.parametrize("directions", [("up",), ("down",), ("up", "down")])
async def test_a_stalled_connection_is_noticed_while_the_send_buffer_is_full(served, link, impatient, directions):
    """What cannot be sent fills every buffer in between; the watch for silence must not wait behind it."""
    async with Client([link.url, served.url], "reader") as client:
        assert await client.query("a.null") is None
        link.stop(*directions)
        name = "x" * 90_000
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(client.query("a.greet", {"name": name}) for _ in range(120)))
        assert all(answer["hello"] == name for answer in answers)


async def test_calls_and_streams_of_an_unavailable_server_move_to_the_next(served, away):
    async with Client([away.url, served.url], "writer") as client:
        assert (await client.query("a.greet", {"name": "x"}))["hello"] == "x"
    async with Client([away.url, served.url], "writer") as client:
        assert (await client.mutate("a.store", {"name": "x"}, resend=True)) == {"stored": "x"}
    async with Client([away.url, served.url], "writer") as client:
        seen = [item.data["n"] async for item in client.subscribe("a.count", {"until": 5})]
    assert seen == [1, 2, 3, 4, 5]


async def test_a_call_without_resend_fails_when_the_server_is_unavailable(served, away):
    async with Client([away.url, served.url], "writer") as client:
        with pytest.raises(CallError) as caught:
            await client.mutate("a.store", {"name": "x"})
    assert caught.value.code == "SERVICE_UNAVAILABLE"
    http = HttpClient([away.url, served.url], "writer")
    try:
        with pytest.raises(CallError):
            await asyncio.to_thread(http.mutate, "a.store", {"name": "x"})
        assert await asyncio.to_thread(http.mutate, "a.store", {"name": "x"}) == {"stored": "x"}  # the next origin
    finally:
        http.close()


async def test_a_connection_that_only_refuses_is_not_reported_as_connected(served, away):
    states = []
    async with Client([away.url, served.url], "writer", on_state=states.append) as client:
        await client.query("a.null")
    assert [(state.kind, state.url) for state in states] == [("lost", away.url), ("connected", served.url)]


async def test_the_http_client_leaves_an_origin_that_does_not_answer(served, away, link):
    link.go_deaf()
    for urls in ([link.url, served.url], [away.url, served.url]):
        client = HttpClient(urls, "writer", timeout=0.5)
        try:
            assert (await asyncio.to_thread(client.query, "a.greet", {"name": "x"}))["hello"] == "x"
            assert await asyncio.to_thread(client.mutate, "a.store", {"name": "x"}) == {"stored": "x"}
        finally:
            client.close()


async def test_a_stream_whose_buffer_is_full_ends_with_its_error_after_its_items():
    stream = client_subscription.Subscription("a.count", None, None)
    for number in range(client_subscription._BUFFER_ITEMS):
        stream.buffer.put_nowait((client_subscription.Item(None, number), 0))
    stream.fail(CallError("not any more", {"code": "UNAUTHORIZED"}))
    seen = [(await stream.next()).data for _ in range(client_subscription._BUFFER_ITEMS)]
    assert seen == list(range(client_subscription._BUFFER_ITEMS))
    with pytest.raises(CallError):
        await stream.next()
