"""Filters a program's output for a terminal, piece by piece and without I/O.

Text, tabs, line ends, carriage returns, colours and erase-line pass. Every other sequence that a terminal obeys is
dropped: cursor movement, titles, strings to the terminal, the alternate screen, bells, and the Unicode controls that
reorder text. A move to the first column becomes a carriage return. The result does not depend on where the pieces
were cut: an unfinished sequence is held until its rest arrives.

A string to the terminal (a title, a picture) ends at the end of its line at the latest, so that one without an end
hides nothing else. Bytes that are not UTF-8 become U+FFFD and are never read as eight-bit controls.
"""

from __future__ import annotations

import codecs
import re

from cli.render.sgr import conceals

_CSI = r"(?:\x1b\[|\x9b)"
_STRING = r"(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])"
_IN_CSI = r"[ -?]*[@-~]?"
_IN_STRING = r"[^\x07\x18\x1a\x1b\x9c\r\n]*[\x07\x18\x1a\x9c]?"
_SHAPELESS = (
    "\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e0fff"
)
_SPECIAL = re.compile(f"[\x1b{_SHAPELESS}]")
_SEQUENCE = re.compile(
    rf"{_CSI}(?P<colour>[0-9;:]{{0,60}})m|{_CSI}(?P<erase>[012]?)K|(?P<home>{_CSI}[01]?G)"
    rf"|(?P<csi>{_CSI}{_IN_CSI})|(?P<string>{_STRING}{_IN_STRING})|\x1b[ -/]{{0,4}}[0-~]?|[{_SHAPELESS}]"
)
_LONGEST_HELD = 80
"""Characters of an unfinished sequence that are kept: more than the longest one that passes."""
_REST = {"csi": re.compile(_IN_CSI), "string": re.compile(_IN_STRING)}
_FINAL = {"csi": re.compile(r"[@-~]\Z"), "string": re.compile(r"[\x07\x18\x1a\x9c]\Z")}
_ESCAPE_END = re.compile(r"[0-~]\Z")


class EscapeFilter:
    """The filter for one stream of one job."""

    def __init__(self, *, coloured: bool, erasing: bool = True, exact: bool = False) -> None:
        """Let colours and erase-line pass or not; ``exact`` keeps bytes that are not UTF-8, as surrogates."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape" if exact else "replace")
        self._coloured = coloured
        self._erasing = erasing
        self._held = ""
        """The beginning of a sequence whose rest is still to come."""
        self._dropping = ""
        """The kind of a long sequence that is dropped until its end."""

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """Return the text that passes; ``last`` says that no more data follows."""
        text = self._after_dropped(self._held + self._decoder.decode(data, last))
        self._held = ""
        shown = _SEQUENCE.sub(self._passed, text) if _SPECIAL.search(text) else text
        if last:
            self._held = self._dropping = ""
        return shown

    def _after_dropped(self, text: str) -> str:
        """Return what follows the long sequence that is being dropped."""
        if not self._dropping:
            return text
        match = _REST[self._dropping].match(text)
        assert match is not None  # it also matches the empty text
        if match.end() == len(text) and not _FINAL[self._dropping].search(match[0]):
            return ""
        self._dropping = ""
        return text[match.end() :]

    def _passed(self, match: re.Match[str]) -> str:
        """Return what is left of a sequence."""
        if match.end() == len(match.string) and _unfinished(match):
            if match.lastgroup and len(match[0]) > _LONGEST_HELD:
                self._dropping = match.lastgroup
            else:
                self._held = match[0]
            return ""
        if match["colour"] is not None:
            return f"\x1b[{match['colour']}m" if self._coloured and not conceals(match["colour"]) else ""
        if match["erase"] is not None:
            return f"\x1b[{match['erase'].replace('0', '')}K" if self._erasing else ""
        return "\r" if match["home"] else ""


def _unfinished(match: re.Match[str]) -> bool:
    """Whether more of the sequence may follow."""
    sequence, kind = match[0], match.lastgroup
    if kind in _FINAL:
        return not _FINAL[kind].search(sequence, 2 if sequence[0] == "\x1b" else 1)
    return kind is None and sequence[0] == "\x1b" and not _ESCAPE_END.search(sequence)


def plain(text: str) -> str:
    """Return a text without control sequences."""
    return EscapeFilter(coloured=False, erasing=False).feed(text.encode("utf-8", "surrogatepass"), last=True)
