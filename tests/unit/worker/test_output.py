"""Output: the bytes an agent writes are the bytes that are sent, in order and within bounds."""

import asyncio
import base64
import os

import pytest

from worker.output import Outbox, PipeReader, split_character


def sent(events):
    """Return the bytes of some output events."""
    return b"".join(
        base64.b64decode(event["data"]) if event.get("encoding") else event["data"].encode() for event in events
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"plain", (b"plain", b"", True)),
        (b"nul\0", (b"nul\0", b"", True)),
        ("é".encode(), ("é".encode(), b"", True)),
        ("aé".encode()[:-1], (b"a", b"\xc3", True)),
        ("a😀".encode()[:-1], (b"a", b"\xf0\x9f\x98", True)),
        (b"\xff\xfe", (b"\xff\xfe", b"", False)),
        (b"\xc3(", (b"\xc3(", b"", False)),
    ],
)
def test_a_chunk_is_split_before_an_incomplete_character(data, expected):
    assert split_character(data) == expected


@pytest.fixture
async def pipe():
    """A pipe whose read end goes into an outbox."""
    read, write = os.pipe()
    outbox = Outbox(1 << 20)
    reader = PipeReader(read, "stdout", outbox)
    reader.done.add_done_callback(lambda _: outbox.close())
    yield write, outbox
    reader.close()


async def everything(outbox):
    found = []
    while events := await outbox.take(1000, 1 << 20):
        found += events
    return found


async def test_a_character_split_over_two_writes_arrives_as_text(pipe):
    write, outbox = pipe
    os.write(write, "aé".encode()[:-1])
    first = await outbox.take(10, 1000)
    os.write(write, "é".encode()[1:])
    os.close(write)
    events = first + await everything(outbox)
    assert sent(events) == "aé".encode()
    assert not any(event.get("encoding") for event in events)


async def test_half_a_character_is_let_go_after_a_while(pipe):
    write, outbox = pipe
    os.write(write, b"\xc3")
    events = await asyncio.wait_for(outbox.take(10, 1000), 5)
    os.close(write)
    assert sent(events) == b"\xc3"
    assert events[0]["encoding"] == "base64"


async def test_many_short_lines_cost_few_events(pipe):
    write, outbox = pipe
    data = b"".join(b"%d\n" % number for number in range(10_000))
    await asyncio.gather(asyncio.to_thread(write_and_close, write, data), asyncio.sleep(0))
    events = await everything(outbox)
    assert sent(events) == data
    assert len(events) < 50


def write_and_close(fd, data):
    while data:
        data = data[os.write(fd, data) :]
    os.close(fd)


async def test_a_full_buffer_stops_the_reading_until_it_is_half_empty():
    read, write = os.pipe()
    outbox = Outbox(200_000)
    reader = PipeReader(read, "stdout", outbox)
    reader.done.add_done_callback(lambda _: outbox.close())
    writing = asyncio.create_task(asyncio.to_thread(write_and_close, write, b"x" * 2_000_000))
    while not outbox.full:
        await asyncio.sleep(0)
    assert outbox._size < 400_000
    done, _ = await asyncio.wait([writing], timeout=0.2)
    assert not done
    assert sent(await everything(outbox)) == b"x" * 2_000_000
    await writing


async def test_who_has_something_to_tell_waits_while_the_buffer_is_full():
    outbox = Outbox(1000)
    outbox.put({"type": "agent"}, 2000)
    waiting = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await outbox.take(10, 10_000)
    await asyncio.wait_for(waiting, 20)


async def test_streams_keep_their_order_and_names():
    outbox = Outbox(1 << 20)
    outbox.write("stdout", b"a", True)
    outbox.write("stdout", b"b", True)
    outbox.write("stderr", b"c", True)
    outbox.put({"type": "progress", "percent": 1}, 10)
    outbox.write("stdout", b"d", True)
    outbox.close()
    events = await outbox.take(10, 1000)
    assert [(event["type"], event.get("stream"), event.get("data")) for event in events] == [
        ("output", "stdout", "ab"),
        ("output", "stderr", "c"),
        ("progress", None, None),
        ("output", "stdout", "d"),
    ]
    assert outbox._size == 0
