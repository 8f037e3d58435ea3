"""Makes untrusted text visible: nothing in it moves the cursor, hides a part, or looks like another line.

Names, messages, prompts and diffs come from servers, workers and agents. What a terminal obeys or does not show is
written as an escape: control characters, the Unicode controls that reorder text, and characters without a shape.
"""

from __future__ import annotations

import json
import re

_WITHOUT_A_SHAPE = (
    "\x00-\x08\x0a-\x1f\x7f-\x9f"  # control characters but the tab
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\ud800-\udfff"
)
"""Unicode's Default_Ignorable_Code_Point, line separators, the blank of Braille, and surrogates."""
_PICTURE = "\u203c\u2049\u2122\u2139\u2190-\u27ff\u2934-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_OF_A_PICTURE = f"(?<=[{_PICTURE}])\ufe0f|(?<=[\ufe0f{_PICTURE}])\u200d(?=[{_PICTURE}])"
"""Joins emoji, or chooses their colours; it is part of what is seen."""
# compiled when they are first used: most lines are printable ASCII, and both take 2 ms to compile
_LINE = f"(?!{_OF_A_PICTURE})[{_WITHOUT_A_SHAPE}]"
_TEXT = f"(?!\n|{_OF_A_PICTURE})[{_WITHOUT_A_SHAPE}]"
_BYTE = 0xDC00  # Python keeps a byte that is not UTF-8 as a lone surrogate from here on


def visible(text: str) -> str:
    """Return one line of text that is safe for a terminal."""
    return text if text.isascii() and text.isprintable() else re.sub(_LINE, _escape, text)


def visible_text(text: str) -> str:
    """Return text of several lines that is safe for a terminal."""
    return re.sub(_TEXT, _escape, text)


def visible_json(text: str) -> str:
    """Return JSON that is safe for a terminal: the same value, with JSON's own escapes."""
    return re.sub(_LINE, lambda match: json.dumps(match[0])[1:-1].replace("\x7f", "\\u007f"), text)


def one_line(text: str) -> str:
    """Return a message as one line, so that no part of it looks like another message."""
    if "\n" not in text:
        return text
    return " / ".join(line.strip() for line in text.split("\n") if line.strip())


def first_line(text: str, length: int = 50) -> str:
    """Return the first line of a text, at most ``length`` characters of it."""
    line = (text.strip().splitlines() or [""])[0]
    return line[: length - 1] + "…" if len(line) > length else line


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if _BYTE + 0x80 <= code <= _BYTE + 0xFF:
        code -= _BYTE
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
