"""Detects terminals, and holds ado's own colours."""

from __future__ import annotations

import os
import shutil
import sys
from typing import IO

_COLOURS = (36, 35, 33, 32, 34, 31)


def is_terminal(stream: IO[str]) -> bool:
    """Whether a stream is a terminal."""
    return stream.isatty()


def colours(stream: IO[str] | None = None) -> bool:
    """Whether to use colours: on a terminal, unless NO_COLOR is set or the terminal is dumb."""
    chosen = stream or sys.stdout
    return is_terminal(chosen) and not os.environ.get("NO_COLOR") and not is_dumb()


def is_dumb() -> bool:
    """Whether the terminal knows no sequences: no colours, and none that erases a line."""
    return os.environ.get("TERM") == "dumb"


def colour_variables() -> dict[str, str]:
    """Return variables that make a program write colours to a pipe; none if stdout shows no colours."""
    return {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"} if colours() else {}


def prefix(job: int, *, coloured: bool) -> bytes:
    """Return the prefix of a job's lines."""
    text = f"[{job}]"
    return f"\x1b[{_COLOURS[job % len(_COLOURS)]}m{text}\x1b[0m ".encode() if coloured else f"{text} ".encode()


def dim(text: str, *, coloured: bool) -> str:
    """Return a text, dimmed if colours are used."""
    return f"\x1b[2m{text}\x1b[0m" if coloured else text


def terminals() -> frozenset[int]:
    """Return which of stdout (1) and stderr (2) are terminals."""
    return frozenset(fd for fd, stream in ((1, sys.stdout), (2, sys.stderr)) if is_terminal(stream))


def columns() -> int:
    """Return the width of the terminal."""
    return shutil.get_terminal_size().columns
