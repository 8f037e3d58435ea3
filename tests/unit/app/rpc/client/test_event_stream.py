"""Subscriptions by blocking calls: the same items, errors and patience as over a WebSocket, without an event loop."""

import asyncio
import contextlib
import math
import threading
import time
import types

import pytest
from support.wire import Gate, Served

from app.rpc.client import CallError, State, UnusableAnswer, event_stream, reading
from app.rpc.client.event_stream import BlockingClient, finish
from app.rpc.client.reading import StopReading
from app.rpc.server.gate import WireLimits
from cli.remote.log_reader import LogReader

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
CONNECTED = b"event: connected\ndata: {}\n\n"
END = b"event: return\ndata: \n\n"
AWAY = b'event: serialized-error\ndata: {"message":"away","data":{"code":"SERVICE_UNAVAILABLE"}}\n\n'


def items(*numbers):
    return b"".join(b'data: {"n":%d}\nid: %d\n\n' % (number, number) for number in numbers)


@contextlib.asynccontextmanager
async def answering(*answers):
    """Answer each connection with the next bytes, the last one again and again; None leaves a connection open."""
    heads, open_ones, left = [], [], list(answers)

    async def serve(reader, writer):
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        answer, is_open = left[0]
        del left[: len(left) > 1]
        writer.write(answer)
        open_ones.append(writer)
        if not is_open:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()
        for writer in open_ones:
            writer.close()


async def read(urls, path="a.count", *, check=None, on_ping=lambda: None):
    """Return the numbers that a subscription gives, and the kinds of the connection's states as they change."""
    seen, states = [], []
    stopped = threading.Event()

    def note(state):
        assert not stopped.is_set()  # ends a reader that was given up; its thread would keep the tests from ending
        states.append(state)

    async def take(client):
        async for item in client.subscribe(path, {"until": 3}):
            seen.append(item)  # noqa: PERF401 - an error must not lose those before it

    def run():
        client = BlockingClient(urls, "writer", on_state=note, on_ping=on_ping, check=check)
        with contextlib.closing(client):
            finish(take(client))

    try:
        async with asyncio.timeout(60):
            await asyncio.to_thread(run)
    finally:
        stopped.set()
        assert all(isinstance(state, State) for state in states)
        changes = [b.kind for a, b in zip([None, *states], states, strict=False) if a is None or a.kind != b.kind]
    return [item.data["n"] for item in seen], changes, [state.detail for state in states if state.kind == "lost"]


async def test_it_reads_a_stream_and_calls_a_query(served):
    async def both(client):
        seen = [
            (item.id, item.data["n"]) async for item in client.subscribe("a.count", {"until": 3}, last_event_id="1")
        ]
        return seen, await client.query("a.greet", {"name": "x"})

    with contextlib.closing(BlockingClient([served.url], "writer", on_state=lambda _: None)) as client:
        seen, answer = await asyncio.to_thread(lambda: finish(both(client)))
    assert (seen, answer["hello"]) == ([("2", 2), ("3", 3)], "x")


async def test_a_broken_stream_goes_on_after_its_last_item():
    async with answering((HEAD + items(1, 2) + b"data: {", False), (HEAD + items(3) + END, False)) as (url, heads):
        assert (await read([url]))[:2] == ([1, 2, 3], ["connected", "lost", "connected"])
    assert "last-event-id" not in heads[0].lower()
    assert "last-event-id: 2" in heads[1].lower()


async def test_a_server_that_stops_or_cannot_serve_is_left_for_the_next():
    first = HEAD + CONNECTED + items(1) + b"event: reconnect\nretry: 500\ndata: \n\n"
    async with (
        answering((first, False), (HEAD + items(3) + END, False)) as (stopping, _),
        answering((HEAD + CONNECTED + AWAY, False)) as (away, _),
    ):
        seen, changes, details = await read([stopping, away])
    assert (seen, changes, details) == ([1, 3], ["connected", "moving", "lost", "connected"], ["away"])


async def test_calls_and_streams_of_an_unavailable_server_move_to_the_next(served):
    gate = Gate()
    gate.away = True
    async with Served(gate, WireLimits()) as away:
        assert (await read([away.url, served.url]))[:2] == ([1, 2, 3], ["lost", "connected"])
        with contextlib.closing(BlockingClient([away.url, served.url], "writer", on_state=lambda _: None)) as client:
            answer = await asyncio.to_thread(lambda: finish(client.query("a.greet", {"name": "x"})))
        assert answer["hello"] == "x"


async def test_an_error_of_the_server_ends_the_stream_and_the_call(served):
    with pytest.raises(CallError, match="no more") as caught:
        await read([served.url], "a.broken")
    assert (caught.value.code, caught.value.reason) == ("CONFLICT", "stale")
    nobody = BlockingClient([served.url], "nobody", on_state=lambda _: None)
    with contextlib.closing(nobody), pytest.raises(CallError, match="who are you"):
        await asyncio.to_thread(lambda: finish(nobody.query("a.null")))


async def test_a_silent_server_is_lost_and_one_that_pings_is_not(monkeypatch):
    monkeypatch.setattr(event_stream, "_SILENCE_SECONDS", 0.2)
    pings = []
    silent, answer = HEAD + CONNECTED, HEAD + CONNECTED + b"event: ping\ndata: \n\n" + items(1) + END
    async with answering((silent, True), (answer, False)) as (url, _):
        assert (await read([url], on_ping=lambda: pings.append(1)))[:2] == ([1], ["lost", "connected"])
    assert pings == [1]


async def test_an_item_of_another_shape_ends_the_stream(served):
    def check(path, value):
        raise ValueError(f"{path}: {value}")

    with pytest.raises(UnusableAnswer, match="not from an ado server"):
        await read([served.url], check=check)


@pytest.mark.parametrize(
    "garbage",
    [b"", b"HTTP/1.1 20", b"SSH-2.0\r\n", b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\n<a>",
     b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", HEAD + b"data: {\n\n", HEAD + b"id: \xff\ndata: 1\n\n",
     HEAD + b"x" * 5000, HEAD[:-2] + b"transfer-encoding: chunked\r\n\r\nzz\r\n", bytes(range(256)) * 10],
)  # fmt: skip
async def test_what_is_not_of_ado_is_reported_and_survived(served, monkeypatch, garbage):
    monkeypatch.setattr(event_stream, "_EVENT_BYTES", 1000)
    async with answering((garbage, False)) as (url, _):
        seen, changes, details = await read([url, served.url])
    assert (seen, changes) == ([1, 2, 3], ["lost", "connected"])
    assert details[0].isprintable()


async def test_a_stream_may_be_longer_than_any_answer_and_an_event_may_not(monkeypatch):
    monkeypatch.setattr(reading, "ANSWER_BYTES", 20_000)
    monkeypatch.setattr(event_stream, "_EVENT_BYTES", 4000)
    numbers = list(range(1, 2000))
    async with answering((HEAD + b"x" * 5000, True), (HEAD + items(*numbers) + END, False)) as (url, _):
        seen, changes, details = await read([url])
    assert (seen, changes) == (numbers, ["lost", "connected"])
    assert "larger than 4000 bytes" in details[0]


@pytest.mark.parametrize("silent", [True, False])
async def test_a_stream_is_stopped_at_its_time_and_another_client_goes_on_after_the_last_item(silent):
    """Whether the server says nothing more, or closes each connection."""
    reader, seen = LogReader("a.count", {"until": 3}), []
    lost: list[State] = []

    async def take(client):
        async for item in reader.read(client):
            seen.append(item.data["seq"])  # noqa: PERF401 - an error must not lose those before it

    def run(url, until):
        def note(state):
            assert time.monotonic() < until + 5  # a reader that is not stopped would keep the tests from ending
            lost.extend([state] if state.kind == "lost" else [])

        client = BlockingClient([url], "writer", on_state=note, until=until)
        with contextlib.closing(client):
            finish(take(client))

    event = b'data: {"seq":%d,"storedAt":"x"}\nid: %d\n\n'
    async with answering((HEAD + CONNECTED + event % (1, 1), silent), (HEAD + CONNECTED, silent)) as (url, _):
        with pytest.raises(StopReading):
            await asyncio.to_thread(run, url, time.monotonic() + 1)
        assert seen == [1]
    with pytest.raises(StopReading):  # nobody listens any more
        await asyncio.to_thread(run, url, time.monotonic() + 0.2)
    lost.clear()
    async with answering((b"", True)) as (url, _):
        with pytest.raises(StopReading):
            await asyncio.to_thread(run, url, time.monotonic() + 0.5)
    assert not lost  # what is not answered yet is no loss
    async with answering((HEAD + event % (2, 2) + END, False)) as (url, heads):
        await asyncio.to_thread(run, url, math.inf)
    assert seen == [1, 2]
    assert "last-event-id: 1" in heads[0].lower()


def test_a_coroutine_that_needs_an_event_loop_is_refused():
    @types.coroutine
    def suspend():
        yield

    async def wait():
        await suspend()

    with pytest.raises(RuntimeError, match="event loop"):
        finish(wait())
