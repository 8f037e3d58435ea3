"""What a program wrote, as it may reach a terminal: colours, tabs, line ends and carriage returns pass.

Every other control sequence is made visible, and so are the Unicode controls that reorder text and the attribute that
conceals it. What is no program's output but a name, a message or a diff goes through ``cli.visible``.
"""

from __future__ import annotations

import os
import re
import sys
from typing import IO

_COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")
_REORDERING = rb"\xd8\x9c|\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]"
_CONTROL = re.compile(
    rb"\x1b\[[0-9;:]*m|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]|\xf3\xa0[\x80\x81][\x80-\xbf]|" + _REORDERING
)
_TORN = re.compile(rb"(?:\x1b(?:\[[0-9;:]{0,60})?|[\xc2\xd8]|\xe2[\x80\x81]?|\xf3(?:\xa0[\x80\x81]?)?)\Z")
"""What may be the beginning of a colour or a control; a longer one is none, so nothing is held back for ever."""
_CONCEAL = 8
_EXTENDED_COLOURS = {38, 48, 58}
_COLOURS = (36, 35, 33, 32, 34, 31)


def neutralise(data: bytes) -> bytes:
    """Escape what could move the cursor, retitle the window or worse."""

    def shown(match: re.Match[bytes]) -> bytes:
        found = match[0]
        if _COLOUR.fullmatch(found) and not _conceals(found[2:-1]):
            return found
        return b"".join(b"\\x%02x" % byte for byte in found)

    return _CONTROL.sub(shown, data)


def _conceals(parameters: bytes) -> bool:
    """Whether one of the attributes is the one that makes text invisible; a colour of the palette may be number 8."""
    numbers = iter([int(part or b"0") for part in re.split(rb"[;:]", parameters)])
    for number in numbers:
        if number == _CONCEAL:
            return True
        if number in _EXTENDED_COLOURS:
            for _ in range({5: 1, 2: 3}.get(next(numbers, 0), 0)):
                next(numbers, 0)
    return False


def split_sequence(data: bytes) -> tuple[bytes, bytes]:
    """Return what can be written, and the beginning of a control sequence at the end whose rest is still to come."""
    match = _TORN.search(data)
    return (data[: match.start()], match[0]) if match else (data, b"")


def is_terminal(stream: IO[str]) -> bool:
    """Whether a person looks at a stream."""
    return stream.isatty()


def colours(stream: IO[str] | None = None) -> bool:
    """Whether to use colours: on a terminal, unless NO_COLOR is set or the terminal is dumb."""
    chosen = stream or sys.stdout
    return is_terminal(chosen) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def colour_wishes() -> dict[str, str]:
    """Return the variables that ask a program for colours although it writes to a pipe; none without a terminal."""
    return {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"} if colours() else {}


def prefix(job: int, *, coloured: bool) -> bytes:
    """Return the prefix of a job's lines."""
    text = f"[{job}]"
    return f"\x1b[{_COLOURS[job % len(_COLOURS)]}m{text}\x1b[0m ".encode() if coloured else f"{text} ".encode()


def dim(text: str, *, coloured: bool) -> str:
    """Return talk in a quiet colour."""
    return f"\x1b[2m{text}\x1b[0m" if coloured else text
