"""What a job writes to its events pipe: events are read, other lines become dropped events, and reading continues."""

import asyncio
import os

import orjson
import pytest

from worker.output.buffer import Outbox
from worker.output.event_pipe import LINE_BYTES, EventPipe
from worker.output.masking import NO_SECRETS


async def read(data):
    """Return the events of what a job writes, and what was heeded."""
    end, write = os.pipe()
    outbox = Outbox(1 << 26)
    heeded = []
    reading = asyncio.create_task(EventPipe(end, outbox, NO_SECRETS, heeded.append).run())
    await asyncio.to_thread(write_all, write, data)
    await asyncio.wait_for(reading, 60)
    outbox.close()
    events = []
    while taken := await outbox.take(1000, 1 << 20):
        events += map(orjson.loads, taken)
    return events, heeded


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]
    os.close(fd)


NESTED = b'{"type":"progress","message":' + b"[" * 400 + b"]" * 400 + b"}"
GOOD = b'{"type":"progress","percent":50}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"type":"progress","message":"\\ud800"}', "not_json"),
        (b'{"type":"progress","percent":NaN}', "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[1]", "not_an_event"),
        (b'{"type":"succeeded"}', "not_an_event"),
        (b'{"type":["progress"]}', "not_an_event"),
        (b'{"type":"output","data":"x"}', "not_an_event"),
        (NESTED, "not_encodable"),
        (b"[" * 100_000, "not_json"),
        (b'{"type":"progress","message":"' + b"x" * LINE_BYTES + b'"}', "line_too_long"),
        (b"y" * (5 * LINE_BYTES), "line_too_long"),
    ],
)
async def test_a_line_that_is_no_event_is_reported_and_the_next_one_is_read(line, reason):
    events, heeded = await read(line + b"\n" + GOOD + b"\n")
    assert [event["type"] for event in events] == ["dropped", "progress"]
    assert events[0]["reason"] == reason
    assert events[0]["bytes"] == len(line)
    assert heeded[-1] == orjson.loads(GOOD)


async def test_an_event_without_an_end_of_line_is_read():
    events, _ = await read(GOOD)
    assert [event["percent"] for event in events] == [50]


async def test_empty_lines_are_ignored():
    events, _ = await read(b"\n \n\n" + GOOD + b"\n\n")
    assert len(events) == 1


async def test_events_have_the_time_of_the_worker():
    events, _ = await read(b'{"type":"progress","at":"yesterday"}\n')
    assert events[0]["at"].startswith("20")


async def test_an_integer_above_64_bits_does_not_end_the_reading():
    events, _ = await read(b'{"type":"progress","percent":' + b"9" * 400 + b"}\n" + GOOD + b"\n")
    assert len(events) == 2
    assert events[1]["percent"] == 50
