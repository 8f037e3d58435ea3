"""The order of writes to several pipes: what the kernel says of it, and what follows for what was read."""

import asyncio
import os
import shutil
import sys

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.output.write_order import WriteOrder, arrange, is_clear

OUT, ERR = 1, 2
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the order of writes")


def text(arranged):
    return b"".join(piece for _, piece in arranged.pieces)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.integers(0, 999)), max_size=30), st.data())
def test_lines_have_the_order_of_their_writes(writes, draw):
    """The pipes are read at different times, and only some writes are known before; later rounds have the rest."""
    total = len(writes)
    waiting, heard, taken, out = arrange([], [], {}), 0, {OUT: 0, ERR: 0}, []
    while True:
        before = draw.draw(st.integers(heard, total))
        moments = {fd: draw.draw(st.integers(before, total)) for fd in (OUT, ERR)}
        after = draw.draw(st.integers(max(moments.values()), total)) if total else 0
        early = [*waiting.writes, *(fd for fd, _ in writes[heard:before])]
        data = {}
        for fd in (OUT, ERR):
            new = b"".join(b"%d.%d\n" % (n, value) for n, (target, value) in enumerate(writes)
                           if target == fd and taken[fd] <= n < moments[fd])  # fmt: skip
            taken[fd] = max(taken[fd], moments[fd])
            data[fd] = waiting.data.get(fd, b"") + new
        waiting = arrange(early, [fd for fd, _ in writes[before:after]], data)
        heard = after
        out += [piece for _, piece in waiting.pieces]
        if heard == total and min(taken.values()) == total and not waiting.data:
            break
    assert b"".join(out) == b"".join(b"%d.%d\n" % (n, value) for n, (_, value) in enumerate(writes))


def test_a_line_that_is_written_in_two_writes_is_one_piece():
    arranged = arrange([OUT, OUT, ERR, ERR, OUT, OUT], [], {OUT: b"a\nc\n", ERR: b"b\n"})
    assert text(arranged) == b"a\nb\nc\n"


def test_output_that_does_not_fit_stays_together_at_its_first_write():
    arranged = arrange([ERR, OUT, OUT, OUT], [], {OUT: b"a\nb\nc\nd\ne\n", ERR: b"x\n"})
    assert text(arranged) == b"x\na\nb\nc\nd\ne\n"


@pytest.mark.parametrize(
    ("early", "late", "data", "in_two_writes", "clear"),
    [
        ([OUT], [], {OUT: b"a\n"}, (), True),
        ([OUT], [], {OUT: b"a\n"}, (OUT,), False),
        ([OUT], [OUT], {OUT: b"a\n"}, (OUT,), True),
        ([], [OUT], {OUT: b"a\n"}, (), True),
        ([], [], {OUT: b"a\n"}, (), False),
        ([], [], {OUT: b"a\nb\nc\n"}, (), False),
        ([OUT], [], {OUT: b"a\nb\n"}, (), False),
        ([OUT], [], {OUT: b"a\nb\nc\n"}, (), True),
        ([OUT], [ERR], {OUT: b"a\nb\nc\n", ERR: b"d"}, (), False),
        ([OUT, OUT], [ERR], {OUT: b"a\nb\n", ERR: b"d"}, (), True),
        ([], [], {OUT: b""}, (), True),
    ],
)
def test_the_order_is_clear_when_no_signal_is_missing(early, late, data, in_two_writes, clear):
    assert is_clear(early, late, data, in_two_writes) == clear


def test_a_piece_is_there_before_the_rest_is_in_order():
    """Full pipes hold so many short writes that arranging them all at once would block the event loop."""
    arranged = arrange([OUT], [ERR, OUT], {OUT: b"a\nb\n"})
    assert next(arranged.pieces) == (OUT, b"a\n")
    assert (arranged.data, arranged.writes) == ({}, [])
    assert list(arranged.pieces) == []
    assert (arranged.data, arranged.writes) == ({OUT: b"b\n"}, [ERR, OUT])


def test_without_notes_of_writes_no_output_is_lost():
    assert text(arrange([], [], {OUT: b"a\n", ERR: b"b"})) == b"a\nb"


@given(
    st.lists(st.sampled_from([OUT, ERR, 7]), max_size=8),
    st.lists(st.sampled_from([OUT, ERR, 7]), max_size=8),
    st.dictionaries(st.sampled_from([OUT, ERR]), st.binary(max_size=30)),
)
def test_every_byte_is_passed_on_or_kept_in_the_order_of_its_stream(early, late, data):
    arranged = arrange(early, late, data)
    pieces = list(arranged.pieces)
    for fd, read in data.items():
        handed = b"".join(piece for target, piece in pieces if target == fd)
        assert handed + arranged.data.get(fd, b"") == read


@linux
async def test_the_kernel_reports_each_write_in_order():
    order = WriteOrder.shared()
    pipes = [os.pipe() for _ in range(2)]
    try:
        written = order.watch([read for read, _ in pipes])
        wanted = []
        for n in range(100):
            read, write = pipes[n % 3 % 2]
            os.write(write, b"x")
            wanted.append(read)
        order.drain()
        assert written == wanted
    finally:
        for read, write in pipes:
            order.forget(read)
            os.close(read)
            os.close(write)


@linux
async def test_a_program_that_exits_immediately_loses_no_output():
    """Node drops what a full pipe has not taken when it is told to exit, so the pipes must not be made small."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node")
    from worker.output.buffer import Outbox
    from worker.output.pipes import OutputReader
    from worker.processes.process import KeptProcess

    code = "for (let i = 0; i < 2000; i++) console.log('line ' + i); process.exit(0)"
    process = await KeptProcess.start([node, "-e", code], env={"PATH": os.environ["PATH"]}, cwd="/")
    outbox = Outbox(1 << 24)
    reader = OutputReader([(process.stdout, "stdout"), (process.stderr, "stderr")], outbox)
    reader.done.add_done_callback(lambda _: outbox.close())
    os.close(process.events)
    lines = 0
    while events := await asyncio.wait_for(outbox.take(1000, 1 << 20), 60):
        lines += sum(orjson.loads(event)["data"].count("\n") for event in events)
    await process.ended()
    process.close()
    assert lines == 2000
