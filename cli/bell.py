"""The bell of the terminal, and a note for its desktop by OSC 9.

iTerm2, kitty, WezTerm, Windows Terminal and others show the note; the rest ignore it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from cli.render.terminal import is_terminal
from cli.render.visible import one_line, visible

_CHARS = 200


def ringing(text: str, *, plain: bool = False) -> bytes:
    """Return what rings the bell and shows a text; ``plain`` is for a terminal that knows no sequences."""
    shown = visible(one_line(text))  # nothing in it ends the sequence
    note = "" if plain else f"\x1b]9;{shown if len(shown) <= _CHARS else shown[: _CHARS - 1] + '…'}\x1b\\"
    return f"\a{note}".encode("utf-8", "replace")


def ring(text: str) -> None:
    """Ring the bell of the terminal and show a text there; without a terminal nothing happens."""
    stream = next((stream for stream in (sys.stderr, sys.stdout) if stream is not None and is_terminal(stream)), None)
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):  # the terminal has gone
            stream.buffer.write(ringing(text, plain=os.environ.get("TERM") == "dumb"))
            stream.flush()


def ring_for_question(event: Mapping[str, Any]) -> None:
    """Ring for an event of the type ``question``."""
    verb = "asks to" if event.get("kind") == "permission" else "asks:"
    ring(f"{event.get('taskId')} {verb} {event.get('text')}")


def ring_for_end(task: Mapping[str, Any]) -> None:
    """Ring for a task that has ended."""
    why = f": {task['message']}" if task.get("message") else ""
    ring(f"{task['taskId']} {task['status']}{why}")
