"""The client's end of the wire over a real uvicorn: calls, subscriptions, cuts, refusals."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
from support.wire import Gate, Served

from app.rpc.client import CallError, Client, HttpClient, NoAnswer
from app.rpc.server.gate import WireLimits


async def test_the_client_calls_and_subscribes(served):
    async with Client([served.url], "writer") as client:
        assert (await client.query("a.greet", {"name": "x"}))["hello"] == "x"
        assert await client.mutate("a.store", {"name": "x"}) == {"stored": "x"}
        items = [item.data["n"] async for item in client.subscribe("a.count", {"until": 1000})]
        assert items == list(range(1, 1001))
        rest = [item.id async for item in client.subscribe("a.count", {"until": 1000}, last_event_id="997")]
        assert rest == ["998", "999", "1000"]
        with pytest.raises(CallError) as caught:
            await client.query("a.refuse")
        assert (caught.value.code, caught.value.reason) == ("CONFLICT", "stale")


async def test_an_unknown_procedure_is_reported_as_one_of_a_newer_release(served):
    async with Client([served.url], "writer") as client:
        with pytest.raises(CallError, match=r"of an older release, which has no a\.grete") as caught:
            await client.query("a.grete")
        assert caught.value.reason == "no_such_procedure"
    with (
        contextlib.closing(HttpClient([served.url], "writer")) as client,
        pytest.raises(CallError, match=r"of an older release, which has no a\.grete"),
    ):
        await asyncio.to_thread(client.query, "a.grete")
    # what releases before this one say on a socket
    earlier = {"code": "NOT_FOUND", "reason": "not_found", "path": "a.b"}
    assert CallError.of({"message": "nothing", "data": earlier}).reason == "no_such_procedure"
    task = {"code": "NOT_FOUND", "reason": "no_such_task", "path": "tasks.get"}
    assert CallError.of({"message": "there is no task", "data": task}).message == "there is no task"


async def test_the_client_resumes_after_cuts_without_loss_or_double(served):
    """A proxy cuts the connection again and again while items flow."""
    links = set()

    async def relay(reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", served.port)
        links.add(writer)

        async def copy(source, target):
            with contextlib.suppress(OSError):
                while data := await source.read(4096):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        links.discard(writer)

    proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    seen, cuts = [], 0
    states = []
    async with Client([url], "writer", on_state=states.append) as client:
        async for item in client.subscribe("a.count", {"until": 3000}):
            seen.append(item.data["n"])
            assert seen[-1] == len(seen)  # at once: one that always begins again would never come to an end
            if len(seen) % 500 == 0:
                cuts += 1
                for link in list(links):
                    link.transport.abort()
    proxy.close()
    await proxy.wait_closed()
    assert seen == list(range(1, 3001))
    assert sum(state.kind == "lost" for state in states) >= 3


async def test_a_drain_is_reported_as_a_move_and_the_subscription_continues(served):
    states = []
    async with (
        Served(Gate(), WireLimits()) as other,
        Client([served.url, other.url], "writer", on_state=states.append) as client,
    ):
        items = client.subscribe("a.wait")
        assert (await anext(items)).data == "here"
        await served.application.drain(0.2)
        assert (await anext(items)).data == "here"
        await items.aclose()
    assert [(state.kind, state.url) for state in states] == [
        ("connected", served.url), ("moving", served.url), ("connected", other.url),
    ]  # fmt: skip


async def test_the_client_distinguishes_bad_credentials_from_an_absent_server(served):
    async with Client([served.url], "nobody") as client:
        with pytest.raises(CallError) as caught:
            await client.query("a.null")
        assert caught.value.code == "UNAUTHORIZED"
    async with Client(["http://127.0.0.1:9"], None, first_contact_seconds=0.2) as client:
        with pytest.raises(NoAnswer):
            await client.query("a.null")


async def test_the_http_client_tries_the_next_origin(served):
    client = HttpClient(["http://127.0.0.1:9", served.url], "writer")
    try:
        assert await asyncio.to_thread(client.query, "a.greet", {"name": "x"}) == {"hello": "x", "by": "writer"}
        with pytest.raises(CallError):
            await asyncio.to_thread(client.mutate, "a.store", {"name": 5})
    finally:
        client.close()


@pytest.mark.parametrize(("idle", "connections"), [(2.9, 1), (3.0, 2)])
async def test_the_http_client_does_not_use_a_connection_that_the_server_may_be_closing(
    served, monkeypatch, idle, connections
):
    """A mutation on a connection that the server closes at the same time would have an unknown outcome."""
    accepted, now = [], 1000.0
    admit = served.peers.admit
    monkeypatch.setattr(served.peers, "admit", lambda peer: accepted.append(peer) or admit(peer))
    monkeypatch.setattr("app.rpc.client.http.time", SimpleNamespace(monotonic=lambda: now))
    with contextlib.closing(HttpClient([served.url], "writer")) as client:
        await asyncio.to_thread(client.query, "a.null")
        now += idle
        await asyncio.to_thread(client.mutate, "a.store", {"name": "x"})
    assert len(accepted) == connections


@pytest.mark.parametrize("value", ["a\udc80", 2**64, {1: "x"}, object()])
async def test_a_value_that_json_cannot_express_is_refused_before_it_is_sent(served, value):
    async with Client([served.url], "writer") as client:
        for call in (client.query, client.mutate):
            with pytest.raises(CallError) as caught:
                await call("a.greet", {"name": value})
            assert (caught.value.code, caught.value.reason) == ("BAD_REQUEST", "invalid_input")
        with pytest.raises(CallError):
            await anext(client.subscribe("a.count", {"until": value}))
        assert await client.query("a.null") is None
    with contextlib.closing(HttpClient([served.url], "writer")) as http:
        for call in (http.query, http.mutate):
            with pytest.raises(CallError):
                call("a.greet", {"name": value})
