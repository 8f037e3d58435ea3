"""Stdin of ``ado run`` without a server: a pipe or a file is the agent's own, bytes that it leaves are left there.

A terminal is not: the agent's processes are no part of its foreground, so reading it would fail. What comes from there,
and what comes after a prompt that is too long for an argument, goes through a pipe, which a thread feeds: a read that
blocks can be ended by the process alone.
"""

from __future__ import annotations

import contextlib
import os
import threading

from worker.processes.process import KeptProcess

STDIN = 0
_PIECE_BYTES = 64 * 1024


def needs_pipe(text: str) -> bool:
    """Whether stdin cannot be the agent's own: ``text`` comes before it, or it is a terminal."""
    return bool(text) or os.isatty(STDIN)


def feed(process: KeptProcess, text: str) -> None:
    """Feed a text and stdin to an agent from a thread."""
    assert process.stdin is not None
    pipe = os.dup(process.stdin)
    process.close_stdin()
    os.set_blocking(pipe, True)
    threading.Thread(target=_copy, args=(pipe, text), name="stdin", daemon=True).start()


def _copy(pipe: int, text: str) -> None:
    with contextlib.suppress(OSError), os.fdopen(pipe, "wb", buffering=0) as target:  # the agent may end before
        data = text.encode("utf-8", "surrogateescape")
        while data or (data := os.read(STDIN, _PIECE_BYTES)):
            data = data[target.write(data) :]
