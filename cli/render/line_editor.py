"""Lines that a program overwrites, as a terminal shows them, without I/O.

With carriage returns and erase-line the text depends on columns: later text replaces what is under the cursor, and the
rest stays. A line without them is kept as a list of pieces, so that a long one costs linear time.
"""

from __future__ import annotations

import re

from cli.render.sgr import RESET, Attributes

_TOKEN = re.compile(
    r"(?P<move>[\r\t])|\x1b\[(?P<erase>[12]?)K|\x1b\[(?P<colour>[0-9;:]*)m|(?P<text>[^\r\t\x1b]+)|(?P<other>\x1b)"
)
_ERASE = re.compile(r"\x1b\[[12]?K")
_TAB = 8


class Cells:
    """The columns of a line, each with a character and its attributes; the column after a wide character is empty."""

    def __init__(self) -> None:
        self._glyphs: list[str] = []
        self._styles: list[str] = []
        self._at = 0
        self._joinable: int | None = None
        """Column of the last character, with which the next one may combine."""
        self.attributes = Attributes()

    def write(self, text: str) -> None:
        """Write filtered text without line ends at the cursor."""
        for token in _TOKEN.finditer(text):
            if token["text"]:
                self._put(token["text"])
                continue
            self._joinable = None
            if token["move"]:
                self._at = 0 if token["move"] == "\r" else (self._at // _TAB + 1) * _TAB
            elif token["colour"] is not None:
                self.attributes.change(token["colour"])
            elif token["erase"] is not None:
                self._erase(token["erase"])

    def __str__(self) -> str:
        """Return the line with its colours, which end with it."""
        shown, style = [], ""
        for glyph, next_style in zip(self._glyphs, self._styles, strict=True):
            if next_style != style:
                shown.append((RESET if style else "") + next_style)
                style = next_style
            shown.append(glyph)
        return "".join(shown) + (RESET if style else "")

    def _put(self, text: str) -> None:
        if self._joinable is not None:
            text, self._at = self._glyphs[self._joinable] + text, self._joinable
        if text.isascii():
            self._place(list(text))
            self._joinable = self._at - 1
            return
        from wcwidth import iter_graphemes, width

        for glyph in iter_graphemes(text):
            if (columns := width(glyph)) > 0:
                self._joinable = self._at
                self._place([glyph, *[""] * (columns - 1)])

    def _place(self, glyphs: list[str]) -> None:
        start, end, style = self._at, self._at + len(glyphs), str(self.attributes)
        self._pad(start)
        if start < len(self._glyphs) and not self._glyphs[start]:  # the second half of a wide character
            self._glyphs[start - 1] = " "
        if end < len(self._glyphs) and not self._glyphs[end]:
            self._glyphs[end] = " "
        self._glyphs[start:end] = glyphs
        self._styles[start:end] = [style] * len(glyphs)
        self._at = end

    def _pad(self, columns: int) -> None:
        missing = columns - len(self._glyphs)
        self._glyphs += [" "] * missing
        self._styles += [""] * missing

    def _erase(self, kind: str) -> None:
        if kind == "2":
            self._glyphs, self._styles = [], []
        elif kind == "1":
            before = min(self._at + 1, len(self._glyphs))
            if before < len(self._glyphs) and not self._glyphs[before]:
                self._glyphs[before] = " "
            self._glyphs[:before] = [" "] * before
            self._styles[:before] = [""] * before
        else:
            if self._at < len(self._glyphs) and not self._glyphs[self._at]:
                self._glyphs[self._at - 1] = " "
            del self._glyphs[self._at :], self._styles[self._at :]


class OpenLine:
    """A line of one stream until its end; the attributes that hold at its end begin the next one."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._cells: Cells | None = None
        self._returned = False
        """Whether it ends in a carriage return, which may be the first half of a line end."""
        self._attributes = Attributes()

    @property
    def rewritten(self) -> bool:
        """Whether it overwrites itself, so that it is shown before its end."""
        return self._cells is not None or (self._returned and bool(self._pieces))

    def write(self, text: str) -> None:
        """Append a text without line ends."""
        if not text:
            return
        if self._returned:
            text = f"\r{text}"
        text, self._returned = text.rstrip("\r"), text.endswith("\r")
        if not text:
            return
        if self._cells is None and "\r" not in text and not _ERASE.search(text):
            self._pieces.append(text)
            return
        if self._cells is None:
            self._cells = Cells()
            self._cells.attributes = self._attributes
            self._cells.write("".join(self._pieces))
            self._pieces.clear()
        self._cells.write(text)

    def __str__(self) -> str:
        """Return what it shows now."""
        if self._cells is not None:
            return str(self._cells)
        text = "".join(self._pieces)
        after = self._attributes.copy()
        after.read(text)
        return f"{self._attributes}{text}{RESET if after else ''}" if text else ""

    def end(self) -> str:
        """Return it, and start the next line."""
        shown = str(self)
        if self._cells is None:
            self._attributes.read("".join(self._pieces))
        self._pieces.clear()
        self._cells, self._returned = None, False
        return shown

    def __bool__(self) -> bool:
        return bool(self._pieces) or self._cells is not None


class ListedLine:
    """The same without a terminal: each state of the line that a carriage return ends becomes its own line."""

    rewritten = False

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def write(self, text: str) -> list[str]:
        """Append a text; return the states that have ended."""
        if text:
            self._pieces.append(text)
        return self._states() if "\r" in text else []

    def end(self) -> list[str]:
        """Return the remaining states, and start the next line."""
        states = self._states()
        return [*states, self._pieces.pop()] if self._pieces else [*states, ""]

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def _states(self) -> list[str]:
        """Remove and return all states but the last, whose carriage return may be the first half of a line end."""
        text = "".join(self._pieces)
        end = "\r" if text.endswith("\r") else ""
        *states, last = text.removesuffix("\r").split("\r")
        self._pieces[:] = [last + end] if last + end else []
        return [state for state in states if state]
