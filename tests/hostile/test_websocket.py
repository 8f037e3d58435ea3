"""Malformed, huge and endless frames, floods of subscriptions and of pings: each is answered or ends its own socket."""

import asyncio
import contextlib
import json
import random
import socket

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from .conftest import no_leak
from .test_http import junk

PATHS = (
    "tasks.get",
    "tasks.create",
    "tasks.list",
    "workers.claim",
    "stream.taskEvents",
    "stream.systemEvents",
    "no.pe",
)
FRAMES = 150


def frame(rng):
    """Return a frame that is wrong in some way, or almost right."""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(rng.randrange(100)))
    if kind == 2:
        return "[" * rng.choice([10, 5000, 100_000])
    call = {
        "id": rng.choice([1, 2, "x", None, True, 1.5, [], {}, 2**70, "y" * 1000]),
        "method": rng.choice(["query", "mutation", "subscription", "subscription.stop", "", None, 5, "nope"]),
        "params": rng.choice([None, [], {}, 5]),
    }
    if kind > 4:
        call["params"] = {"path": rng.choice([*PATHS, 5, None, "p" * 5000]), "input": junk(rng)}
    if rng.random() < 0.2:
        call["params"] = {**(call["params"] or {}), "lastEventId": rng.choice(["1", 5, "x", None])} if kind > 4 else 1
    if rng.random() < 0.1:
        call["jsonrpc"] = rng.choice(["2.0", "1.0", 2])
    if rng.random() < 0.1:
        del call[rng.choice(list(call))]
    if kind == 3:
        return json.dumps([call] * rng.choice([0, 1, 3, 200]))
    text = json.dumps(call)
    return text[: rng.randrange(len(text))] if kind == 4 else text


async def hear(target, socket, ends):
    """Read until the answer to a last, right call comes."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            text = await asyncio.wait_for(socket.recv(), 60)
            if text in ("PONG", ends):
                continue
            no_leak(text.encode())
            if json.loads(text).get("id") == "last":
                return True
    return False


@pytest.mark.parametrize("seed", range(6))
async def test_malformed_frames_are_answered_and_the_socket_stays_open(target, seed):
    rng = random.Random(seed)
    headers = {"authorization": f"Bearer {target.cluster.make_token(rng.choice(['viewer', 'admin']))}"}
    async with connect(
        f"ws://127.0.0.1:{target.port}/trpc", additional_headers=headers, proxy=None, max_size=None
    ) as peer:
        hearing = asyncio.create_task(hear(target, peer, "PING"))
        for _ in range(FRAMES):
            await peer.send(frame(rng))
        await peer.send(json.dumps({"id": "last", "method": "query", "params": {"path": "tasks.list"}}))
        assert await asyncio.wait_for(hearing, 60)


IDS = ("2.5", "-0.0", "1e400", "1e300", "12345678901234567890123", "{}", "[]", "[1]", '{"a":1}', "true", "null", '""',
       '"\\ud800"', '"\\u0000"', "[" * 2000 + "]" * 2000, '"' + "y" * 1_000_000 + '"')  # fmt: skip
CALLS = (
    '{{"id":{},"method":"query","params":{{"path":"tasks.list"}}}}',
    '{{"id":{},"method":"query","params":{{"path":"no.pe"}}}}',
    '{{"id":{},"method":"subscription","params":{{"path":"stream.systemEvents"}}}}',
    '{{"id":{},"method":"subscription.stop"}}',
    '[{{"id":{},"method":"query","params":{{"path":"tasks.list"}}}}]',
    '{{"id":{}}}',
)


async def test_any_id_is_answered_and_the_socket_stays_open(target):
    """Twice in a row, so that the second one meets what the first one left."""
    headers = {"authorization": f"Bearer {target.cluster.token}"}
    uri = f"ws://127.0.0.1:{target.port}/trpc"
    async with connect(uri, additional_headers=headers, proxy=None, max_size=None) as peer:
        hearing = asyncio.create_task(hear(target, peer, "PING"))
        for name in IDS:
            for form in CALLS:
                await peer.send(form.format(name))
                await peer.send(form.format(name))
        await peer.send(json.dumps({"id": "last", "method": "query", "params": {"path": "tasks.list"}}))
        assert await asyncio.wait_for(hearing, 60)


OTHER_PATHS = ("/", "/healthz", "/readyz", "/metrics", "/other", "//trpc", "/trpcx", "/trpc//", "/trpc/tasks.get",
               "/TRPC", "/trpc/ado.d.ts", "/trpc/../x", "/trpc/%2e%2e", "/trpc%00")  # fmt: skip


def test_an_upgrade_on_another_path_than_the_apis_is_answered_with_404(target):
    found = {path: upgraded(target, path).split(b" ")[1] for path in OTHER_PATHS}
    assert set(found.values()) == {b"404"}, found
    found = {path: upgraded(target, path).split(b" ")[1] for path in ("/trpc", "/trpc/", "/trpc?x=1", "/%74rpc")}
    assert set(found.values()) == {b"101"}, found


def upgraded(target, path):
    """Return the head of the answer to an upgrade."""
    upgrade = (
        f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"authorization: Bearer {target.cluster.token}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as connection:
        connection.sendall(upgrade)
        return connection.recv(4096)


async def test_subscriptions_over_the_limit_are_refused_and_the_others_continue(target):
    headers = {"authorization": f"Bearer {target.cluster.token}"}
    async with connect(f"ws://127.0.0.1:{target.port}/trpc", additional_headers=headers, proxy=None) as peer:
        for number in range(300):
            path = {"path": "stream.systemEvents"}
            await peer.send(json.dumps({"id": number, "method": "subscription", "params": path}))
        states = {"started": 0, "refused": 0}
        while sum(states.values()) < 300:
            answer = json.loads(await asyncio.wait_for(peer.recv(), 60))
            if answer.get("result", {}).get("type") == "started":
                states["started"] += 1
            elif "error" in answer:
                assert answer["error"]["data"]["reason"] == "limit_exceeded"
                states["refused"] += 1
        assert states == {"started": 100, "refused": 200}


async def test_a_flood_of_pings_and_calls_is_answered_in_full(target):
    headers = {"authorization": f"Bearer {target.cluster.token}"}
    async with connect(f"ws://127.0.0.1:{target.port}/trpc", additional_headers=headers, proxy=None) as peer:
        hearing = asyncio.create_task(hear(target, peer, "PING"))
        for number in range(3000):
            await peer.send("PING")
            await peer.send(json.dumps({"id": number, "method": "query", "params": {"path": "tasks.list"}}))
        await peer.send(json.dumps({"id": "last", "method": "query", "params": {"path": "workers.list"}}))
        assert await asyncio.wait_for(hearing, 60)


async def test_a_peer_that_never_reads_takes_bounded_memory(target):
    """It sends calls whose answers it never takes: at some point the replica takes no more calls either."""
    task = target.cluster.ado("run", "--remote", "--detach", "--agent", "shell", "-o", "name", "x" * 100_000, check=0)
    params = {"path": "tasks.get", "input": {"taskId": task.stdout.decode().strip()}}
    headers = {"authorization": f"Bearer {target.cluster.token}"}
    async with connect(
        f"ws://127.0.0.1:{target.port}/trpc", additional_headers=headers, proxy=None, max_queue=1, close_timeout=1
    ) as peer:
        for number in range(5000):
            try:
                call = json.dumps({"id": number, "method": "query", "params": params})
                await asyncio.wait_for(peer.send(call), 2)
            except TimeoutError:
                break
        await asyncio.to_thread(target.check)


async def test_a_subscription_keeps_no_large_input(target):
    """Megabytes of members that no procedure knows."""
    junk = [{} for _ in range(1_000_000)]
    token = target.cluster.make_token("admin")
    async with connect(
        f"ws://127.0.0.1:{target.port}/trpc", additional_headers={"authorization": f"Bearer {token}"}, proxy=None
    ) as peer:
        for number in range(8):
            params = {"path": "stream.systemEvents", "input": {"junk": junk}}
            await peer.send(json.dumps({"id": number, "method": "subscription", "params": params}))
            answer = json.loads(await asyncio.wait_for(peer.recv(), 60))
            assert answer["error"]["data"]["reason"] == "limit_exceeded"
        await asyncio.to_thread(target.check)


@pytest.mark.parametrize("seed", range(3))
def test_garbage_after_the_upgrade_ends_only_that_socket(target, seed):
    rng = random.Random(seed)
    upgrade = (
        "GET /trpc HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"authorization: Bearer {target.cluster.token}\r\n\r\n"
    ).encode()
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", target.port), timeout=60) as connection:
            connection.sendall(upgrade)
            assert connection.recv(4096).startswith(b"HTTP/1.1 101")
            with contextlib.suppress(OSError):
                connection.sendall(rng.randbytes(rng.randrange(1, 500)))
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass


async def test_unauthenticated_sockets_are_bounded_in_time_and_size(target):
    """Who announced connectionParams and sends none, or far too many, is closed."""
    uri = f"ws://127.0.0.1:{target.port}/trpc?connectionParams=1"
    async with connect(uri, proxy=None) as peer:
        await peer.send(json.dumps({"method": "connectionParams", "data": {"token": "x" * 100_000}}))
        answer = json.loads(await asyncio.wait_for(peer.recv(), 60))
        assert answer["error"]["data"]["reason"] == "limit_exceeded"
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(peer.recv(), 60)
    async with connect(uri, proxy=None) as peer:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(peer.recv(), 60)
