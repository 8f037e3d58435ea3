"""The connections over real sockets: which are closed, which are limited, and that no frame blocks the loop."""

import asyncio
import contextlib
import json
import socket

import pytest
from support.wire import FLOODED, Gate, Served, request
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from app.replica.connection_limits import raise_limit, room_for_connections
from app.replica.connections import ConnectionLimits
from app.rpc.server.gate import WireLimits

LIMITS = WireLimits(opening_seconds=0.3, body_seconds=0.3, answer_bytes=300_000, unsent_bytes=500_000)
ROOM = ConnectionLimits(connections=20, of_address=12, opening_of_address=4, stalled_seconds=0.5)
HALF = b"GET /trpc/a.null HTTP/1.1\r\nhost: x\r\nx-slow: "


@pytest.fixture
async def served():
    async with Served(Gate(), LIMITS, ROOM) as made:
        yield made


@contextlib.asynccontextmanager
async def opened(served, data=b""):
    """Give a raw connection that has sent something."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(data)
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def socket_of(served, **options):
    """Return a WebSocket that is to be opened; the system takes little for it while it does not read."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    narrow.connect(("127.0.0.1", served.port))
    return connect(
        f"ws://127.0.0.1:{served.port}/trpc",
        sock=narrow,
        additional_headers={"authorization": "Bearer writer"},
        proxy=None,
        ping_interval=None,
        **options,
    )


async def test_the_oldest_unauthenticated_connection_is_closed_with_a_reason(served):
    async with contextlib.AsyncExitStack() as stack:
        oldest, _ = await stack.enter_async_context(opened(served, HALF))
        await until(lambda: len(served.peers) == 1)
        for _ in range(4):
            await stack.enter_async_context(opened(served, HALF))
        answer = await asyncio.wait_for(oldest.read(), 60)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["data"]["reason"] == "too_many_connections"


async def test_an_authenticated_connection_is_not_closed_for_another(served):
    async with socket_of(served) as peer, contextlib.AsyncExitStack() as stack:
        await peer.send('{"id":1,"method":"query","params":{"path":"a.null"}}')
        await peer.recv()
        for _ in range(8):
            await stack.enter_async_context(opened(served, HALF))
        await peer.send('{"id":2,"method":"query","params":{"path":"a.null"}}')
        assert json.loads(await asyncio.wait_for(peer.recv(), 60))["id"] == 2


@pytest.mark.parametrize("begun", ["after the answer", "with the request before it"])
async def test_a_known_caller_may_rest_and_a_head_that_it_has_begun_comes_in_time(served, begun):
    """A balancer keeps connections for a minute, and a call that meets their end is answered with 502."""
    whole = b"GET /trpc/a.null HTTP/1.1\r\nhost: x\r\nauthorization: Bearer writer\r\n\r\n"
    together = begun == "with the request before it"
    async with opened(served, whole + (HALF if together else b"")) as (reader, writer):
        answer = await asyncio.wait_for(reader.readuntil(b'{"result":{"data":null}}'), 60)
        assert answer.startswith(b"HTTP/1.1 200 ")
        loop = asyncio.get_running_loop()
        served.peers.now = lambda: loop.time() + 60
        if not together:
            served.peers.sweep()
            assert [peer.transport.is_closing() for peer in served.peers._all] == [False]
            writer.write(HALF)
        await until(lambda: next(iter(served.peers._all)).deadline is not None)
        served.peers.sweep()
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 408 ")


async def test_one_address_is_limited_and_a_socket_that_closes_makes_room(served):
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(socket_of(served)) for _ in range(12)]
        for peer in peers:
            await peer.send("PING")
            await peer.recv()
        status, answer = await request(served, "GET", "/trpc/a.null")
        assert (status, answer["error"]["data"]["reason"]) == (503, "too_many_connections")
        await peers[0].close()
        await until(lambda: len(served.peers) == 11)
        assert (await request(served, "GET", "/trpc/a.null"))[0] == 200


async def test_connections_of_a_trusted_proxy_count_only_towards_the_total():
    async with Served(Gate(), LIMITS, ROOM, trusted=["127.0.0.0/8"]) as served, contextlib.AsyncExitStack() as stack:
        for _ in range(20):
            peer = await stack.enter_async_context(socket_of(served))
            await peer.send("PING")
            await peer.recv()
        assert (await request(served, "GET", "/trpc/a.null"))[0] == 503


async def test_a_peer_that_reads_nothing_is_cut(served):
    """An event stream and a socket, each with a flood that nobody reads."""
    flood = b"GET /trpc/a.flood HTTP/1.1\r\nhost: x\r\nauthorization: Bearer writer\r\n\r\n"
    async with opened(served, flood), socket_of(served, max_queue=1, close_timeout=0.1) as peer:
        await peer.send('{"id":1,"method":"subscription","params":{"path":"a.flood"}}')
        await until(lambda: len(FLOODED) > 3)
        await until(lambda: len(served.peers) == 0)


async def test_an_unauthenticated_sender_of_a_refused_body_is_cut():
    """Some of it is dropped, so that the refusal can be read."""
    head = b"POST /trpc/a.store HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    async with (
        Served(Gate(), WireLimits(opening_seconds=600)) as served,
        opened(served, head + b"transfer-encoding: chunked\r\n\r\n") as (reader, writer),
    ):
        assert (await asyncio.wait_for(reader.read(100), 60)).startswith(b"HTTP/1.1 401 ")
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                await writer.drain()
        await until(lambda: len(served.peers) == 0)


@pytest.mark.parametrize("data", ["{", "PONG", b"", "[]"], ids=["bad", "pong", "binary", "empty list"])
async def test_the_loop_handles_one_of_several_received_frames_per_turn(served, data):
    """Other connections get a turn after each frame."""
    count, turns = 3000, 0

    async def tick():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with socket_of(served, max_queue=None) as peer:
        await peer.send("PING")
        await peer.recv()
        ticking = asyncio.create_task(tick())
        payload = data if isinstance(data, bytes) else data.encode()
        frame = bytes([0x82 if isinstance(data, bytes) else 0x81, 0x80 | len(payload)]) + bytes(4) + payload
        peer.transport.write(frame * count)
        await peer.send('{"id":"last","method":"query","params":{"path":"a.null"}}')
        async with asyncio.timeout(60):
            while '"last"' not in await peer.recv():
                pass
        ticking.cancel()
    assert turns >= count


async def test_endless_fragments_end_the_socket(served):
    async with socket_of(served) as peer:
        await peer.send("PING")
        await peer.recv()
        peer.transport.write(b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 10_000)
        await asyncio.wait_for(peer.wait_closed(), 60)
        assert (peer.close_code, peer.close_reason) == (1008, "a message has at most 4096 fragments")


async def test_an_answer_over_the_limit_is_refused_on_every_transport(served):
    wish = {"name": "x" * 40_000, "count": 10}
    path = "/trpc/a.greet?input=" + json.dumps({"name": "x" * 4000, "count": 100}).replace('"', "%22").replace(" ", "")
    status, answer = await request(served, "GET", path)
    assert (status, answer["error"]["data"]["limit"]) == (413, 300_000)
    async with socket_of(served) as peer:
        await peer.send(json.dumps({"id": 1, "method": "query", "params": {"path": "a.greet", "input": wish}}))
        error = json.loads(await asyncio.wait_for(peer.recv(), 60))["error"]["data"]
    assert (error["code"], error["reason"], error["limit"]) == ("PAYLOAD_TOO_LARGE", "limit_exceeded", 300_000)


async def test_the_answers_of_a_batch_share_the_limit(served):
    wish = json.dumps({str(number): {"name": "x" * 1000, "count": 100} for number in range(9)})
    path = "/trpc/" + ",".join(["a.greet"] * 9) + "?batch=1&input=" + wish.replace('"', "%22").replace(" ", "")
    status, answers = await request(served, "GET", path)
    reasons = [answer["error"]["data"]["reason"] for answer in answers if "error" in answer]
    assert status == 207
    assert 0 < len(reasons) < 9
    assert set(reasons) == {"limit_exceeded"}
    assert len(json.dumps(answers)) < 400_000


async def test_a_large_answer_arrives_complete_in_pieces(served):
    path = "/trpc/a.greet?input=" + json.dumps({"name": "xyz" * 1000, "count": 90}).replace('"', "%22").replace(" ", "")
    status, answer = await request(served, "GET", path)
    assert (status, answer["result"]["data"]["hello"]) == (200, "xyz" * 90_000)


async def test_answers_that_wait_for_a_socket_are_bounded():
    """Beyond the limit a call is answered with an error. All calls come in one frame, so no answer is read between."""
    params = {"path": "a.greet", "input": {"name": "x" * 1000, "count": 4000}}
    calls = [{"id": number, "method": "query", "params": params} for number in range(30)]
    async with Served(Gate(), WireLimits(unsent_bytes=10_000_000)) as served, socket_of(served, max_size=None) as peer:
        await peer.send(json.dumps(calls))
        answers = [json.loads(await asyncio.wait_for(peer.recv(), 60)) for _ in calls]
    errors = [answer["error"]["data"] for answer in answers if "error" in answer]
    assert 0 < len(errors) < len(calls)
    assert {(error["code"], error["reason"]) for error in errors} == {("TOO_MANY_REQUESTS", "limit_exceeded")}


async def test_a_stop_ends_a_socket_whose_client_began_to_close_it_and_reads_nothing(served):
    """Until the client reads, the close frame of the server waits, and the connection is neither open nor closed."""
    head = (
        b"GET /trpc HTTP/1.1\r\nhost: x\r\nauthorization: Bearer writer\r\n"
        b"connection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    subscribe = json.dumps({"id": 1, "method": "subscription", "params": {"path": "a.flood"}}).encode()
    async with opened(served, head) as (reader, writer):
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        writer.write(Frame(Opcode.TEXT, subscribe).serialize(mask=True))
        (connection,) = served.server.server_state.connections
        await until(lambda: not connection.writable.is_set())
        writer.write(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
        await until(lambda: connection.conn.state is State.CLOSING)
        connection.shutdown()
        assert connection.transport.is_closing()


async def test_a_missing_body_is_answered_with_408(served):
    head = (
        b"POST /trpc/a.store HTTP/1.1\r\nhost: x\r\nauthorization: Bearer writer\r\ncontent-type: application/json\r\n"
        b"content-length: 10\r\n\r\n{"
    )
    async with opened(served, head) as (reader, _):
        assert (await asyncio.wait_for(reader.read(100), 60)).startswith(b"HTTP/1.1 408 ")


async def test_a_query_of_too_many_fields_is_refused(served):
    status, answer = await request(served, "GET", "/trpc/a.null?" + "&".join(f"a{number}=1" for number in range(2000)))
    assert (status, answer["error"]["data"]["reason"]) == (400, "limit_exceeded")


def test_the_limit_of_open_files_is_raised_and_some_are_reserved():
    limit = raise_limit()
    assert limit == raise_limit()
    assert 0 < room_for_connections(1000, 10) < 1000 - 10 - 32
    assert room_for_connections(20, 10) == 8


async def test_a_malformed_request_gets_an_answer(served):
    async with opened(served, b"nonsense\r\n\r\n") as (reader, _):
        assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 400 ")
