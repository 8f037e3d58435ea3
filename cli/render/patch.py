"""Shows a patch on a terminal: every character is visible, and the colours are ado's own.

A file may contain the same sequences as git's colours, so git prints none. A line is coloured by its position in the
patch: the head of a hunk says how many lines belong to it, whatever they contain.
"""

from __future__ import annotations

import codecs
import re

from cli.render.visible import visible

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_BOLD, _CYAN, _GREEN, _RED = 1, 36, 32, 31
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m|\n)")
_LONGEST = 64 * 1024  # characters of an unfinished line that are held


class StatView:
    """Shows the output of ``--stat``: git quotes the names in it, so all of its colours are git's own."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._rest = ""

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """Return the text that can be shown; with ``last`` all the rest."""
        text = self._rest + self._decoder.decode(data, last)
        end = len(text) if last else text.rfind("\n") + 1
        self._rest = text[end:]
        return "".join(_between_colours(line) for line in text[:end].splitlines(keepends=True))


class PatchView:
    """Turns the bytes of a patch, in pieces of any size, into text for a terminal."""

    def __init__(self, *, coloured: bool) -> None:
        self._coloured = coloured
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._rest = ""
        self._goes_on = False
        """Whether the beginning of the line is shown already."""
        self._colour = 0
        self._old = self._new = 0
        """Remaining lines of the hunk."""

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """Return the text that can be shown; with ``last`` all the rest."""
        *lines, self._rest = (self._rest + self._decoder.decode(data, last)).split("\n")
        shown = [self._piece(line) + "\n" for line in lines]
        if self._rest and (last or len(self._rest) > _LONGEST):
            shown.append(self._piece(self._rest))
            self._rest, self._goes_on = "", True
        return "".join(shown)

    def _piece(self, text: str) -> str:
        if not self._goes_on:
            self._colour = self._place(text)
        self._goes_on = False
        safe = visible(text)
        return f"\x1b[{self._colour}m{safe}\x1b[0m" if self._coloured and self._colour and safe else safe

    def _place(self, line: str) -> int:
        """Return the colour of a line by its position, 0 for none."""
        if self._old > 0 or self._new > 0:
            return self._in_hunk(line[:1])
        if head := _HUNK.match(line):
            self._old, self._new = (int(count or 1) for count in head.groups())
            return _CYAN
        return 0 if line.startswith("\\") else _BOLD

    def _in_hunk(self, mark: str) -> int:
        if mark == "+":
            self._new -= 1
            return _GREEN
        if mark == "-":
            self._old -= 1
            return _RED
        if mark != "\\":
            self._old -= 1
            self._new -= 1
        return 0


def _between_colours(line: str) -> str:
    return "".join(part if _COLOUR.fullmatch(part) else visible(part) for part in _COLOUR.split(line))
