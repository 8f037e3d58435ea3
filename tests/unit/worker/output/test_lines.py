"""Lines of a pipe in bounded memory."""

import asyncio
import os

import pytest

from worker.output.lines import bounded_lines


async def read(data, limit):
    """Return the lines of a pipe that is written from another thread."""
    out, into = os.pipe()

    def write():
        with os.fdopen(into, "wb") as pipe:
            pipe.write(data)

    writing = asyncio.create_task(asyncio.to_thread(write))
    lines = [line async for line in bounded_lines(out, limit)]
    await writing
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(out)
    return lines


async def test_lines_come_with_their_sizes_and_the_last_one_needs_no_end():
    assert await read(b"one\n\nthree", 5) == [(b"one", 3), (b"", 0), (b"three", 5)]
    assert await read(b"", 5) == []


async def test_a_line_over_the_limit_is_counted_and_not_kept():
    long = 200_000  # more than one read of the pipe
    assert await read(b"x" * long + b"\nshort\n" + b"y" * long, 100) == [(None, long), (b"short", 5), (None, long)]


async def test_a_line_at_the_limit_is_kept_over_several_reads():
    line = b"x" * 150_000
    assert await read(line + b"\n", len(line)) == [(line, len(line))]
