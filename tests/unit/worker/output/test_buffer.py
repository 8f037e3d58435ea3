"""Output that waits: in order and within bounds."""

import asyncio
import base64

import orjson
import pytest

from worker.output.buffer import Outbox
from worker.output.wire_events import Encoded, is_text


async def test_a_writer_waits_while_the_buffer_is_full():
    outbox = Outbox(1000)
    outbox.put({"type": "agent", "text": "x" * 2000})
    waiting = asyncio.create_task(outbox.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await outbox.take(10, 10_000)
    await asyncio.wait_for(waiting, 60)


@pytest.mark.parametrize(("left", "resumed"), [(6, 0), (5, 1), (4, 1)])
async def test_readers_resume_once_it_is_half_empty(left, resumed):
    outbox = Outbox(1000)
    for _ in range(10):
        outbox.add(Encoded(b"x" * 36))  # 100 bytes each with the cost of an event
    assert outbox.full
    calls = []
    outbox.on_room(lambda: calls.append("resumed"))
    await outbox.take(10 - left, 10_000)
    assert len(calls) == resumed


async def test_streams_keep_their_order_and_names():
    outbox = Outbox(1 << 20)
    outbox.write("stdout", b"a", True)
    outbox.write("stdout", b"b", True)
    outbox.write("stderr", b"c", True)
    outbox.put({"type": "progress", "percent": 1})
    outbox.write("stdout", b"d", True)
    outbox.close()
    events = [orjson.loads(event) for event in await outbox.take(10, 1000)]
    assert [(event["type"], event.get("stream"), event.get("data")) for event in events] == [
        ("output", "stdout", "ab"),
        ("output", "stderr", "c"),
        ("progress", None, None),
        ("output", "stdout", "d"),
    ]
    assert outbox._size == 0


@pytest.mark.parametrize("data", [b"a" * 100, "é".encode() * 50, bytes(range(256)), b""])
async def test_what_is_longer_than_a_chunk_becomes_several(data):
    outbox = Outbox(1 << 20, chunk_bytes=7)
    outbox.write("stdout", data, is_text(data))
    outbox.close()
    events = [orjson.loads(event) for event in await outbox.take(1000, 1 << 20)]
    pieces = [base64.b64decode(event["data"]) if "encoding" in event else event["data"].encode() for event in events]
    assert b"".join(pieces) == data
    assert all(len(piece) <= 7 for piece in pieces)
