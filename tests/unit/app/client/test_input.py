"""A client feeds stdin: every byte once and in order, in bounded memory, past replicas of an older release."""

import asyncio
import base64
import io
import os
import threading

import pytest
from support.wire import Gate, Served

from app.client import AsyncAdo, InvalidAnswer, NotFound
from app.client.input import BUFFER_BYTES, JobInput, async_pieces
from app.procedures.job_input import SendInput
from app.rpc.client import CallError, Client, retry
from app.rpc.server.gate import WireLimits
from app.rpc.server.procedure import mutation
from app.rpc.server.registry import Registry

LIMITS = WireLimits(body_bytes=4_000_000, recheck_seconds=1.0, subscriptions=3, batch_calls=5)
DATA = os.urandom(2 * BUFFER_BYTES + 12_345)


class Job:
    """Stands for a connection to a server that takes a job's input."""

    def __init__(self, takes=None):
        self.data = bytearray()
        self.ended = False
        self.calls = 0
        self.reads = asyncio.Event()
        self.reads.set()
        self.takes = takes or (lambda _, data: len(data))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def mutate(self, path, value, *, resend):
        assert (path, resend) == ("tasks.input", True)
        self.calls += 1
        await self.reads.wait()
        assert value["offset"] <= len(self.data)
        data = base64.b64decode(value["data"])
        news = data[len(self.data) - value["offset"] :]
        taken = self.takes(self.calls, news)
        self.data += news[:taken]
        self.ended = self.ended or (value["end"] and taken == len(news))
        return {"acknowledged": len(self.data)}


async def sent(job, source, *, offset=0, end=True):
    async with JobInput(job, "task-1", 0, offset) as sending:
        async for piece in async_pieces(source):
            await sending.put(piece)
        return await sending.finish(end=end)


async def later(pieces):
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


PIECES = [DATA[:1], b"", DATA[1:3_000], memoryview(DATA)[3_000:1_000_000], bytearray(DATA[1_000_000:])]


@pytest.mark.parametrize(
    "source",
    [
        lambda: DATA,
        lambda: memoryview(DATA),
        lambda: io.BytesIO(DATA),
        lambda: iter(PIECES),
        lambda: PIECES,
        lambda: later(PIECES),
    ],
    ids=["bytes", "memoryview", "file", "iterator", "list", "asynchronous"],
)
async def test_every_kind_of_source_arrives_whole_and_ends(source):
    job = Job()
    assert await sent(job, source()) == len(DATA)
    assert (bytes(job.data), job.ended) == (DATA, True)


async def test_a_pipe_arrives_while_it_is_written():
    read, write = os.pipe()
    job = Job()
    with os.fdopen(read, "rb") as source:
        sending = asyncio.create_task(sent(job, source))
        for count in (1, 2, 3):
            os.write(write, b"x")
            while len(job.data) < count:
                await asyncio.sleep(0.001)
        os.close(write)
        assert await sending == 3


async def test_the_end_is_sent_when_it_is_known_only_while_the_last_bytes_are_on_their_way():
    job = Job()
    job.reads.clear()
    async with JobInput(job, "task-1", 0, 0) as sending:
        await sending.put(b"all")
        while not job.calls:
            await asyncio.sleep(0)
        finishing = asyncio.create_task(sending.finish(end=True))
        while not sending._complete:
            await asyncio.sleep(0)
        job.reads.set()
        assert await finishing == 3
    assert (bytes(job.data), job.ended) == (b"all", True)


async def test_waiting_pieces_are_sent_together():
    job = Job()
    job.reads.clear()
    sending = asyncio.create_task(sent(job, later([b"line\n"] * 10_000)))
    while not job.calls:
        await asyncio.sleep(0)
    for _ in range(100_000):
        await asyncio.sleep(0)
    job.reads.set()
    assert await sending == 50_000
    assert job.calls < 10


async def test_a_source_is_read_no_further_than_the_buffer_while_the_job_is_slow():
    given = 0

    async def endless():
        nonlocal given
        while True:
            given += 64 * 1024
            yield b"x" * 64 * 1024

    job = Job()
    job.reads.clear()
    sending = asyncio.create_task(sent(job, endless()))
    known = -1
    while known != given or not given:
        known = given
        for _ in range(1_000):
            await asyncio.sleep(0)
    assert given <= 2 * BUFFER_BYTES + 64 * 1024
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_only_the_part_that_was_not_acknowledged_is_sent_again():
    job = Job(takes=lambda call, data: min(len(data), 100_000 if call % 2 else 0))
    assert await sent(job, DATA) == len(DATA)
    assert bytes(job.data) == DATA


async def test_a_source_resumes_without_repeating_received_bytes():
    job = Job()
    assert await sent(job, DATA[:100], end=False) == 100
    assert not job.ended
    assert await sent(job, DATA[40:], offset=40) == len(DATA)
    assert (bytes(job.data), job.ended) == (DATA, True)


@pytest.mark.parametrize("source", ["text", ["text"], io.StringIO("text"), 7, None, later(["text"]), [b"x", 7]])
async def test_a_source_that_gives_no_bytes_is_refused(source):
    with pytest.raises(TypeError):
        await sent(Job(), source)


async def test_an_error_of_the_source_is_raised_and_does_not_end_the_input():
    def broken():
        yield b"some"
        raise OSError("the disk is gone")

    job = Job()
    with pytest.raises(OSError, match="the disk is gone"):
        await sent(job, broken())
    assert not job.ended


async def test_a_blocking_source_blocks_neither_the_loop_nor_the_end_of_the_wait():
    goes_on = threading.Event()

    def stuck():
        yield b"first"
        goes_on.wait()
        yield b"second"

    job = Job()
    sending = asyncio.create_task(sent(job, stuck()))
    while not job.data:
        await asyncio.sleep(0.001)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    goes_on.set()
    assert bytes(job.data) == b"first"


async def test_a_refusal_reaches_a_source_that_waits_for_room():
    class Closed(Job):
        async def mutate(self, path, value, *, resend):
            raise CallError("it has ended", {"code": "CONFLICT", "reason": "input_closed"})

    with pytest.raises(Exception, match="it has ended") as raised:
        await sent(Closed(), later([b"x" * BUFFER_BYTES] * 10))
    assert type(raised.value).__name__ == "InputClosed"


async def test_a_job_that_ended_with_all_of_its_input_needs_no_end_of_file():
    class Quick(Job):
        async def mutate(self, path, value, *, resend):
            if not value["data"]:
                raise CallError("it has ended", {"code": "CONFLICT", "reason": "input_closed"})
            return await super().mutate(path, {**value, "end": False}, resend=resend)

    async def slowly():
        yield b"all"
        while not job.data:
            await asyncio.sleep(0)

    job = Quick()
    assert await sent(job, slowly()) == 3


def upgraded(answer):
    """Return the procedures of a replica that knows ``tasks.input``."""

    @mutation(access="write")
    async def take(context, input: SendInput) -> dict:
        return answer(input)

    return Registry({"tasks.input": take})


async def test_a_replica_without_the_call_is_replaced_by_a_newer_one():
    got = bytearray()

    def answer(input):
        got.extend(base64.b64decode(input.data))
        return {"acknowledged": len(got)}

    async with (
        Served(Gate(), LIMITS) as old,
        Served(Gate(), LIMITS, registry=upgraded(answer)) as new,
        AsyncAdo([old.url, new.url], "writer") as ado,
    ):
        assert await ado.send_input("task-1", [b"a", b"b"]) == 2
    assert got == b"ab"


async def test_replicas_that_are_all_of_an_older_release_are_an_error_in_time(monkeypatch):
    monkeypatch.setattr(retry, "UPGRADE_SECONDS", 0.0)
    async with Served(Gate(), LIMITS) as old, AsyncAdo([old.url], "writer") as ado:
        with pytest.raises(NotFound, match=r"of an older release, which has no tasks\.input") as raised:
            await ado.send_input("task-1", b"x")
    assert raised.value.hint


async def test_an_answer_of_another_shape_is_an_error(served_wrong):
    async with AsyncAdo([served_wrong.url], "writer") as ado:
        with pytest.raises(InvalidAnswer):
            await ado.send_input("task-1", b"x")


@pytest.fixture
async def served_wrong():
    async with Served(Gate(), LIMITS, registry=upgraded(lambda _: {"taken": 1})) as made:
        yield made


def test_sending_needs_only_the_methods_of_the_protocol():
    assert all(hasattr(Client, name) for name in ("mutate", "leave", "__aenter__", "__aexit__"))
