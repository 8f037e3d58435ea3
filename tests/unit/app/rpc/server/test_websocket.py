"""The tRPC wire over a real uvicorn: envelopes, codes, batches, sockets, resumption, bad frames, draining."""

import asyncio
import contextlib
import json

import pytest
from support.wire import FLOODED, Gate, Served, request
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.rpc.server import websocket
from app.rpc.server.gate import WireLimits
from app.rpc.server.procedure import subscription
from app.rpc.server.registry import Registry

QUERY = "/trpc/a.greet?input=%7B%22name%22%3A%22x%22%7D"


@contextlib.asynccontextmanager
async def opened(served, path="/trpc", **headers):
    fields = headers or {"authorization": "Bearer writer"}
    async with connect(f"ws://127.0.0.1:{served.port}{path}", additional_headers=fields, proxy=None) as socket:
        yield socket


async def ask(socket, frame):
    await socket.send(frame if isinstance(frame, str) else json.dumps(frame))
    return json.loads(await asyncio.wait_for(socket.recv(), 60))


async def rest(socket):
    """Return every frame until the server closes."""
    frames = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            frames.append(json.loads(await asyncio.wait_for(socket.recv(), 60)))
    return frames


def call(number, path, method="query", **params):
    return {"id": number, "method": method, "params": {"path": path, **params}}


async def test_a_socket_returns_ids_unchanged(served):
    async with opened(served) as socket:
        assert await ask(socket, call("x", "a.null")) == {"id": "x", "result": {"type": "data", "data": None}}
        assert await ask(socket, call(2, "a.nothing") | {"jsonrpc": "2.0"}) == {
            "id": 2, "jsonrpc": "2.0", "result": {"type": "data"},
        }  # fmt: skip


async def test_an_open_socket_keeps_no_headers_in_memory(served):
    async with opened(served) as socket:
        assert (await ask(socket, call(1, "a.null")))["result"] == {"type": "data", "data": None}
        (connection,) = served.server.server_state.connections
        kept = (connection.scope["headers"], connection.request.headers, connection.response.headers)
        assert [len(headers) for headers in kept] == [0, 0, 0]


async def test_a_subscription_sends_started_items_and_stopped(served):
    async with opened(served) as socket:
        assert await ask(socket, call(1, "a.count", "subscription", input={"until": 2})) == {
            "id": 1,
            "result": {"type": "started"},
        }
        found = [json.loads(await socket.recv()) for _ in range(3)]
    assert found == [
        {"id": 1, "result": {"type": "data", "id": "1", "data": {"id": "1", "data": {"n": 1}}}},
        {"id": 1, "result": {"type": "data", "id": "2", "data": {"id": "2", "data": {"n": 2}}}},
        {"id": 1, "result": {"type": "stopped"}},
    ]


async def test_others_go_on_while_a_subscription_has_many_items_at_once(monkeypatch):
    turns, seen = 0, set()

    @subscription(access="read")
    async def many(context):
        for number in range(500):
            seen.add(turns)
            yield number

    async def go_on():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(websocket, "_TURN_SECONDS", 0)
    async with Served(Gate(), WireLimits(), registry=Registry({"a.many": many})) as served, opened(served) as socket:
        other = asyncio.create_task(go_on())
        answer = await ask(socket, call(1, "a.many", "subscription"))
        while answer["result"]["type"] != "stopped":
            answer = json.loads(await socket.recv())
        other.cancel()
    assert len(seen) == 500


async def test_a_subscription_resumes_after_its_last_event_id(served):
    async with opened(served) as socket:
        await ask(socket, call(1, "a.count", "subscription", input={"until": 3}, lastEventId="2"))
        assert json.loads(await socket.recv())["result"]["id"] == "3"


async def test_a_used_id_is_refused_until_its_subscription_stops(served):
    async with opened(served) as socket:
        await ask(socket, call(1, "a.wait", "subscription"))
        assert json.loads(await socket.recv())["result"]["data"] == "here"
        refused = await ask(socket, call(1, "a.wait", "subscription"))
        assert refused["error"]["data"]["code"] == "BAD_REQUEST"
        assert await ask(socket, {"id": 1, "method": "subscription.stop"}) == {"id": 1, "result": {"type": "stopped"}}
        assert (await ask(socket, call(1, "a.wait", "subscription")))["result"] == {"type": "started"}


async def test_ping_is_answered_while_a_subscription_runs(served):
    async with opened(served) as socket:
        await ask(socket, call(1, "a.wait", "subscription"))
        await socket.recv()
        await socket.send("PING")
        assert await asyncio.wait_for(socket.recv(), 60) == "PONG"


@pytest.mark.parametrize(
    "frame",
    ["{bad", "5", "null", '{"id":1}', '{"id":1,"method":"nope"}', '{"id":1,"method":"query"}',
     '{"id":null,"method":"query","params":{"path":"a.null"}}', '{"id":1,"method":"query","params":{"path":5}}',
     '{"id":1,"jsonrpc":"1.0","method":"query","params":{"path":"a.null"}}', b"\x00\xff"],
)  # fmt: skip
async def test_a_senseless_frame_gets_an_error_and_the_socket_stays_open(served, frame):
    async with opened(served) as socket:
        await socket.send(frame)
        answer = json.loads(await asyncio.wait_for(socket.recv(), 60))
        assert (answer["id"], answer["error"]["data"]["code"]) == (None, "PARSE_ERROR")
        assert (await ask(socket, call(1, "a.null")))["result"]["data"] is None


async def test_a_socket_has_a_bound_of_subscriptions(served):
    async with opened(served) as socket:
        for number in range(3):
            await ask(socket, call(number, "a.wait", "subscription"))
            await socket.recv()
        refused = await ask(socket, call(9, "a.wait", "subscription"))
        assert refused["error"]["data"]["reason"] == "limit_exceeded"


@pytest.mark.parametrize(("limits", "accepted"), [(WireLimits(calls=2), 2), (WireLimits(call_bytes=150), 3)])
async def test_a_socket_has_a_bound_of_calls_and_of_their_bytes(limits, accepted):
    """A call frame has between 50 and 75 bytes here. A stopped call makes room."""
    async with Served(Gate(), limits) as served, opened(served) as socket:
        for number in range(accepted):
            await socket.send(json.dumps(call(number, "a.wait", "subscription")))
            assert [json.loads(await socket.recv())["id"] for _ in range(2)] == [number, number]
        refused = (await ask(socket, call(9, "a.null")))["error"]["data"]
        assert (refused["code"], refused["reason"]) == ("TOO_MANY_REQUESTS", "limit_exceeded")
        assert (await ask(socket, {"id": 0, "method": "subscription.stop"}))["result"]["type"] == "stopped"
        assert "result" in await ask(socket, call(9, "a.null"))


async def test_connection_params_carry_the_token(served):
    async with opened(served, "/trpc?connectionParams=1", x="y") as socket:
        await socket.send('{"method":"connectionParams","data":{"token":"reader"}}')
        answer = await ask(socket, call(1, "a.greet", input={"name": "x"}))
        assert answer["result"]["data"]["by"] == "reader"


async def test_bad_credentials_are_answered_under_the_id_of_the_call(served):
    async with opened(served, "/trpc?connectionParams=1", x="y") as socket:
        await socket.send('{"method":"connectionParams","data":{"token":"nobody"}}')
        await socket.send(json.dumps(call(7, "a.null")))
        answers = await rest(socket)
    assert [(answer["id"], answer["error"]["data"]["code"]) for answer in answers] == [
        (None, "UNAUTHORIZED"), (7, "UNAUTHORIZED"),
    ]  # fmt: skip


async def test_calls_after_a_refusal_are_answered_under_their_ids(served):
    """A client sends further calls until the refusal has reached it, a round trip later."""
    async with opened(served, authorization="Bearer nobody") as socket:
        assert json.loads(await asyncio.wait_for(socket.recv(), 60))["id"] is None
        answer = await ask(socket, [call(8, "a.null"), call("y", "a.wait", "subscription")])
        answers = [answer, *await rest(socket)]
    assert [(answer["id"], answer["error"]["data"]["code"]) for answer in answers] == [
        (8, "UNAUTHORIZED"), ("y", "UNAUTHORIZED"),
    ]  # fmt: skip


async def test_queries_may_share_an_id_and_an_unmatched_stop_is_ignored(served):
    async with opened(served) as socket:
        await socket.send(json.dumps([call(1, "a.slow"), call(1, "a.null"), {"id": 9, "method": "subscription.stop"}]))
        await socket.send("[]")
        answers = [json.loads(await asyncio.wait_for(socket.recv(), 60)) for _ in range(2)]
        assert [answer["result"]["data"] for answer in answers] == [None, "slow"]
        assert (await ask(socket, call(2, "a.null")))["id"] == 2


async def test_a_list_that_is_too_long_is_refused_under_every_id(served):
    async with opened(served) as socket:
        await socket.send(json.dumps([call(number, "a.null") for number in range(6)]))
        answers = [json.loads(await asyncio.wait_for(socket.recv(), 60)) for _ in range(6)]
        assert [answer["id"] for answer in answers] == list(range(6))
        assert {answer["error"]["data"]["reason"] for answer in answers} == {"limit_exceeded"}


async def test_a_frame_over_the_limit_gets_an_error_and_ends_the_socket(served):
    async with opened(served) as socket:
        await socket.send("x" * 200_000)
        (answer,) = await rest(socket)
        assert (answer["id"], answer["error"]["data"]["code"]) == (None, "PAYLOAD_TOO_LARGE")
        assert socket.close_code == 1009


@pytest.mark.parametrize(
    ("call_", "code"),
    [(call(1, "a.null", "mutation"), "NOT_FOUND"), (call(1, "a.count"), "NOT_FOUND"),
     (call(1, "a.wait", "subscription", input=5), None), (call(1, "a.crash"), "INTERNAL_SERVER_ERROR"),
     (call(1, "a.count", "subscription", input={"until": "x"}), "BAD_REQUEST")],
)  # fmt: skip
async def test_an_error_of_a_socket_has_code_reason_and_hint(served, call_, code):
    async with opened(served) as socket:
        answer = await ask(socket, call_)
    if code is None:
        assert answer["result"] == {"type": "started"}
        return
    data = answer["error"]["data"]
    assert (answer["id"], data["code"], data["path"]) == (1, code, call_["params"]["path"])
    assert data["reason"]
    assert data["hint"]


async def test_a_silent_peer_is_pinged_and_then_cut():
    async with Served(Gate(), WireLimits(quiet_seconds=0.05, answer_seconds=0.05)) as served, opened(served) as socket:
        await ask(socket, call(1, "a.wait", "subscription"))
        assert json.loads(await asyncio.wait_for(socket.recv(), 60))["result"]["data"] == "here"
        assert await asyncio.wait_for(socket.recv(), 60) == "PING"
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 10)
        assert socket.close_code == 1006


async def test_a_peer_that_answers_pings_is_kept():
    async with Served(Gate(), WireLimits(quiet_seconds=0.05, answer_seconds=5)) as served, opened(served) as socket:
        for _ in range(3):
            assert await asyncio.wait_for(socket.recv(), 60) == "PING"
            await socket.send("PONG")
        assert (await ask(socket, call(1, "a.null")))["id"] == 1


async def test_a_peer_that_reads_nothing_does_not_delay_the_stop():
    FLOODED.clear()
    headers = {"authorization": "Bearer writer"}
    async with Served(Gate(), WireLimits(last_seconds=0.2)) as served:
        url = f"ws://127.0.0.1:{served.port}/trpc"
        async with connect(
            url, additional_headers=headers, proxy=None, max_queue=1, compression=None, close_timeout=0.1
        ) as socket:
            await socket.send(json.dumps(call(1, "a.flood", "subscription")))
            made = -1
            async with asyncio.timeout(30):
                while made != len(FLOODED):
                    made = len(FLOODED)
                    await asyncio.sleep(0.3)
                await served.application.drain(0.1)
                while served.application.connections()["websocket"]:
                    await asyncio.sleep(0.05)


async def test_a_stopping_replica_and_a_foreign_page_are_refused_at_the_upgrade(served):
    with pytest.raises(InvalidStatus) as caught:
        async with opened(served, origin="http://evil.example"):
            pass
    assert caught.value.response.status_code == 403
    assert json.loads(caught.value.response.body)["error"]["data"]["reason"] == "foreign_origin"
    await served.application.drain(0)
    with pytest.raises(InvalidStatus) as caught:
        async with opened(served):
            pass
    assert caught.value.response.status_code == 503


async def test_a_revoked_token_ends_subscriptions_with_an_error_not_stopped(served):
    async with opened(served) as socket:
        await ask(socket, call(1, "a.wait", "subscription"))
        await socket.recv()
        served.gate.revoked.add("writer")
        answers = await rest(socket)
    assert [(answer["id"], answer["error"]["data"]["code"]) for answer in answers] == [(1, "UNAUTHORIZED")]


async def test_a_revoked_token_ends_calls_in_flight_too_then_the_socket_with_a_reason(served):
    async with opened(served) as socket:
        await socket.send(json.dumps([call(1, "a.hang"), call("x", "a.hang") | {"jsonrpc": "2.0"}]))
        served.gate.revoked.add("writer")
        answers = await rest(socket)
    assert [(answer["id"], answer["error"]["data"]["code"]) for answer in answers] == [
        (1, "UNAUTHORIZED"), ("x", "UNAUTHORIZED"),
    ]  # fmt: skip
    assert answers[1]["jsonrpc"] == "2.0"
    assert (socket.close_code, socket.close_reason) == (1008, "not any more")


async def test_a_revoked_token_ends_an_idle_socket(served):
    async with opened(served) as socket:
        served.gate.revoked.add("writer")
        assert await rest(socket) == []
    assert (socket.close_code, socket.close_reason) == (1008, "not any more")


async def test_a_revoked_token_ends_a_long_call_over_http(served):
    asking = asyncio.create_task(request(served, "GET", "/trpc/a.hang"))
    await asyncio.sleep(0)
    served.gate.revoked.add("writer")
    status, answer = await asyncio.wait_for(asking, 60)
    assert (status, answer["error"]["data"]["reason"]) == (401, "token_invalid")


async def test_a_revoked_caller_that_reads_nothing_is_cut_in_time():
    FLOODED.clear()
    limits = WireLimits(last_seconds=0.3, recheck_seconds=0.05)
    headers = {"authorization": "Bearer writer"}
    async with Served(Gate(), limits) as served:
        url = f"ws://127.0.0.1:{served.port}/trpc"
        async with connect(
            url, additional_headers=headers, proxy=None, max_queue=1, compression=None, close_timeout=0.1
        ) as socket:
            await socket.send(json.dumps(call(1, "a.flood", "subscription")))
            made = -1
            async with asyncio.timeout(30):
                while made != len(FLOODED):
                    made = len(FLOODED)
                    await asyncio.sleep(0.3)
                served.gate.revoked.add("writer")
                while served.application.connections()["websocket"]:
                    await asyncio.sleep(0.05)


async def test_a_socket_that_the_server_fails_to_serve_is_closed_with_a_code_and_a_reason(served, caplog):
    async with opened(served) as socket:
        served.gate.failing = True
        assert await rest(socket) == []
    assert (socket.close_code, socket.close_reason) == (1011, "the server failed; connect again")
    assert "call ended badly" in caplog.text


async def test_draining_asks_to_reconnect_without_stopping_subscriptions(served):
    async with opened(served) as socket:
        await ask(socket, call(1, "a.wait", "subscription"))
        await socket.recv()
        draining = asyncio.create_task(served.application.drain(0.2))
        frames = await rest(socket)
        await draining
        assert frames == [{"id": None, "method": "reconnect"}]
        assert socket.close_code == 1012


async def test_a_draining_replica_refuses_upgrades_with_a_status_that_proxies_retry(served):
    await served.application.drain(0)
    with pytest.raises(InvalidStatus) as caught:
        async with opened(served):
            pass
    assert caught.value.response.status_code == 503
    assert json.loads(caught.value.response.body)["error"]["data"]["reason"] == "draining"
