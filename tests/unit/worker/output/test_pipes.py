"""Pipes: the bytes an agent writes are the bytes that are sent, in the order in which they were written."""

import asyncio
import base64
import os
import random
import sys

import orjson
import pytest
from support.program import until

from worker.output.buffer import Outbox
from worker.output.pipes import OutputReader, _PipeStream, split_character
from worker.output.write_order import WriteOrder, expect_writes
from worker.processes.process import KeptProcess


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
    reader = OutputReader([(read, "stdout")], outbox)
    reader.done.add_done_callback(lambda _: outbox.close())
    yield write, outbox
    reader.close()


async def taken(outbox, count, size):
    """Take events as objects."""
    return [orjson.loads(event) for event in await outbox.take(count, size)]


async def everything(outbox):
    found = []
    while events := await taken(outbox, 1000, 1 << 20):
        found += events
    return found


async def test_a_character_split_over_two_writes_arrives_as_text(pipe):
    write, outbox = pipe
    os.write(write, "aé".encode()[:-1])
    first = await taken(outbox, 10, 1000)
    os.write(write, "é".encode()[1:])
    os.close(write)
    events = first + await everything(outbox)
    assert sent(events) == "aé".encode()
    assert not any(event.get("encoding") for event in events)


async def test_half_a_character_is_passed_on_after_a_while(pipe):
    write, outbox = pipe
    os.write(write, b"\xc3")
    events = await asyncio.wait_for(taken(outbox, 10, 1000), 60)
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
    reader = OutputReader([(read, "stdout")], outbox)
    reader.done.add_done_callback(lambda _: outbox.close())
    writing = asyncio.create_task(asyncio.to_thread(write_and_close, write, b"x" * 2_000_000))
    while not outbox.full:
        await asyncio.sleep(0)
    assert outbox._size < 400_000
    done, _ = await asyncio.wait([writing], timeout=0.2)
    assert not done
    assert sent(await everything(outbox)) == b"x" * 2_000_000
    await writing


async def output_of(argv, before_reading=lambda: None):
    """Run a program under a keeper; return its output events."""
    env = {"PATH": os.environ["PATH"]}
    process = await KeptProcess.start(argv, env=env, cwd="/", expect=expect_writes)
    before_reading()
    outbox = Outbox(1 << 24)
    reader = OutputReader([(process.stdout, "stdout"), (process.stderr, "stderr")], outbox)
    reader.done.add_done_callback(lambda _: outbox.close())
    os.close(process.events)
    events = await asyncio.wait_for(everything(outbox), 120)
    await process.ended()
    process.close()
    return events


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the order of writes")


@linux
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_writes_to_two_streams_keep_their_order_at_full_speed(seed):
    """10,000 short writes to stdout and stderr by chance come back in the order of their numbers, on their streams."""
    choose = random.Random(seed)
    targets = [choose.choice((1, 2)) for _ in range(10_000)]
    code = f"import os\nfor n, fd in enumerate({targets!r}): os.write(fd, b'%d\\n' % n)"
    events = await output_of([sys.executable, "-I", "-S", "-c", code])
    assert [int(number) for number in sent(events).split()] == list(range(10_000))
    for stream, fd in (("stdout", 1), ("stderr", 2)):
        numbers = sent([event for event in events if event["stream"] == stream]).split()
        assert [int(number) for number in numbers] == [n for n, target in enumerate(targets) if target == fd]


@linux
async def test_many_short_writes_do_not_block_the_loop(monkeypatch):
    """One read of 5,000 writes is handed on over as many rounds of the loop as its turns allow, here one piece each."""
    taken = 0
    take = _PipeStream.take

    def count(stream, data):
        nonlocal taken
        taken += 1
        take(stream, data)

    monkeypatch.setattr("worker.output.pipes._TURN_SECONDS", 0)
    monkeypatch.setattr(_PipeStream, "take", count)
    pipes = [os.pipe(), os.pipe()]
    outbox = Outbox(1 << 24)
    reader = OutputReader([(pipes[0][0], "stdout"), (pipes[1][0], "stderr")], outbox)
    for number in range(5_000):
        os.write(pipes[number % 2][1], b"%d\n" % number)
    for _, write in pipes:
        os.close(write)
    most = 0
    while not reader.done.done():
        before = taken
        await asyncio.sleep(0)
        most = max(most, taken - before)
    outbox.close()
    assert most == 1
    assert [int(number) for number in sent(await everything(outbox)).split()] == list(range(5_000))


@linux
async def test_the_order_is_kept_over_several_programs():
    script = "for i in 1 2 3 4 5 6 7 8; do /bin/echo o$i; /bin/echo e$i >&2; /bin/echo f$i >&2; done"
    events = await output_of(["/bin/sh", "-c", script])
    assert sent(events).decode().split() == [f"{name}{i}" for i in range(1, 9) for name in "oef"]


@linux
async def test_what_is_written_before_anybody_reads_keeps_its_order(tmp_path):
    """On a busy machine a program may write, and even end, before its worker reads."""
    script = f"for i in 1 2 3 4; do echo o$i; echo e$i >&2; echo f$i >&2; done; touch {tmp_path}/written"
    events = await output_of(["/bin/sh", "-c", script], lambda: until((tmp_path / "written").exists))
    assert sent(events).decode().split() == [f"{name}{i}" for i in range(1, 5) for name in "oef"]


@linux
async def test_long_writes_to_two_streams_arrive_complete():
    """Where there are no lines the order between the streams is not promised, but every byte of each is."""
    code = "import os\nfor n in range(50): os.write(1, b'a' * 100_000); os.write(2, b'b' * 100_000)"
    events = await output_of([sys.executable, "-I", "-S", "-c", code])
    for stream, letter in (("stdout", b"a"), ("stderr", b"b")):
        assert sent([event for event in events if event["stream"] == stream]) == letter * 5_000_000


@linux
async def test_a_stream_can_be_opened_anew():
    events = await output_of(["/bin/sh", "-c", "echo a > /dev/stdout; echo b > /dev/stderr; echo c >> /dev/fd/1"])
    by_stream = {name: sent([event for event in events if event["stream"] == name]) for name in ("stdout", "stderr")}
    assert by_stream == {"stdout": b"a\nc\n", "stderr": b"b\n"}


@linux
async def test_the_end_of_one_stream_leaves_the_other():
    events = await output_of(["/bin/sh", "-c", "echo a; exec 1>&-; echo b >&2; sleep 0.1; echo c >&2"])
    assert [event["stream"] for event in events][:2] == ["stdout", "stderr"]
    assert sent(events) == b"a\nb\nc\n"


async def test_a_failed_reader_raises_its_error_and_closes_its_pipe():
    read, write = os.pipe()
    outbox = Outbox(1 << 20)

    def heard(_):
        raise RuntimeError("broken")

    reader = OutputReader([(read, "stderr")], outbox, None, heard)
    os.write(write, b"x")
    with pytest.raises(RuntimeError, match="broken"):
        await reader.done
    reader.close()
    with pytest.raises(BrokenPipeError):
        os.write(write, b"y")
    os.close(write)


@pytest.fixture
async def two_pipes(monkeypatch):
    """Two pipes into one outbox, as (write ends, outbox, reader, held); while ``held`` is set, no signal arrives."""
    held = asyncio.Event()
    drain = WriteOrder.drain
    monkeypatch.setattr(WriteOrder, "drain", lambda order: None if held.is_set() else drain(order))
    pipes = [os.pipe(), os.pipe()]
    outbox = Outbox(1 << 20)
    reader = OutputReader([(pipes[0][0], "stdout"), (pipes[1][0], "stderr")], outbox)
    reader.done.add_done_callback(lambda _: outbox.close())
    yield [write for _, write in pipes], outbox, reader, held
    reader.close()


async def closed_output(ends, outbox):
    for end in ends:
        os.close(end)
    return sent(await asyncio.wait_for(everything(outbox), 60))


@linux
async def test_a_writer_that_loses_its_core_before_its_signal_keeps_its_place(two_pipes, monkeypatch):
    monkeypatch.setattr(two_pipes[2], "_patience", 60)
    (out, err), outbox, reader, held = two_pipes
    held.set()
    os.write(err, b"first\n")
    os.write(out, b"second\n")
    async with asyncio.timeout(60):
        while reader._unclear_since is None:
            await asyncio.sleep(0)
    held.clear()
    assert await closed_output((out, err), outbox) == b"first\nsecond\n"


@linux
async def test_output_whose_signals_never_come_is_waited_for_once(two_pipes):
    (out, err), outbox, reader, held = two_pipes
    held.set()
    os.write(out, b"a\n")
    assert sent(await asyncio.wait_for(taken(outbox, 10, 1000), 60)) == b"a\n"
    assert reader._patience == 0
    os.write(err, b"b\n")
    assert await closed_output((out, err), outbox) == b"b\n"


@linux
async def test_a_line_with_its_signal_is_not_waited_for(two_pipes, monkeypatch):
    waits = []
    monkeypatch.setattr("worker.output.pipes.select.select", lambda *_: waits.append(1))
    (out, err), outbox, _, _ = two_pipes
    for _ in range(3):
        os.write(out, b"line\n")
        assert sent(await asyncio.wait_for(taken(outbox, 10, 1000), 60)) == b"line\n"
    assert not waits
    for _ in range(2):  # the first of them shows that this program writes the ends of lines by themselves
        os.write(err, b"line")
        os.write(err, b"\n")
        assert sent(await asyncio.wait_for(taken(outbox, 10, 1000), 60)) == b"line\n"
    assert not waits
    os.write(err, b"line\n")
    assert sent(await asyncio.wait_for(taken(outbox, 10, 1000), 60)) == b"line\n"
    assert waits
    assert await closed_output((out, err), outbox) == b""
