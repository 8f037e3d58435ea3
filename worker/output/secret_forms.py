"""The forms of a secret that are searched: how everyday programs print, quote and encode a value.

A value is searched as a whole, and line by line if it has several lines, because programs indent, number and quote
lines. Long texts are divided into overlapping blocks, so only a short end of a stream must be held back. Forms have no
white space and are compared with text without white space; this finds a value that was wrapped or indented, or has
other line ends. The text is searched again without backslashes and the line ends that they escape (``unescaped``),
which finds the value in JSON that was quoted any number of times.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

SHORTEST = 6
"""Bytes without white space. Shorter values occur in too many other texts, so they are not masked."""
SPACES = b" \t\r\n"
_SHORTEST_CODED = 8
_SPREAD_FROM = 12  # a shorter form must not contain white space; otherwise columns of numbers would match
_SPREAD_ROOM = 64
_BLOCK, _OVERLAP = 128, 8
_BOUNDARY = re.compile(
    r"-----(BEGIN|END) [A-Z0-9 ]+-----"
)  # of a PEM file: public, because it is the same in every file
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")
_UNICODE_ESCAPE = re.compile(r"\\u[0-9a-f]{4}")
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_SAFE_JSON = tuple(str.maketrans({char: f"\\u{ord(char):04x}" for char in chars}) for chars in ("<>&", "<>&'+", ""))
_URL_SAFE = ("", "/", "!'()*~", ";,/?:@&=+$#!'()*~")  # quote, quote's default, encodeURIComponent, encodeURI
_TO_URL_ALPHABET = bytes.maketrans(b"+/", b"-_")


def is_short(value: str) -> bool:
    """Whether a value is too short to be masked."""
    return len(_bare(_bytes(value))) < SHORTEST


def forms(value: str) -> dict[bytes, int]:
    """Return the forms of a value, each with the largest number of bytes that it may take with white space."""
    limits: dict[bytes, int] = {}
    for block in _blocks(value):
        gaps = len(_bytes(block)) - len(_bare(_bytes(block)))
        quoted = {*_quoted(block)}
        for form in (*map(_bare, quoted), *map(unescaped, quoted), *_coded(_bytes(block))):
            if len(form) >= SHORTEST:
                room = 2 * len(form) + _SPREAD_ROOM if len(form) >= _SPREAD_FROM else len(form) + gaps
                limits[form] = max(room, limits.get(form, 0))
    return limits


def unescaped(data: bytes) -> bytes:
    """Return a text without white space, backslashes, and the letters of escaped line ends and tabs."""
    for escape in (b"\\n", b"\\r", b"\\t"):
        data = data.replace(escape, b" ")  # a space, so its neighbours do not form another escape
    return data.translate(None, SPACES + b"\\")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _bare(data: bytes) -> bytes:
    return data.translate(None, SPACES)


def _blocks(value: str) -> Iterator[str]:
    lines = [line.strip() for line in re.split(r"[\r\n]+", value)]
    texts = [value.strip("\r\n"), *(lines if len(lines) > 1 else ())]
    for text in dict.fromkeys(texts):
        if len(_bare(_bytes(text))) < SHORTEST or _BOUNDARY.fullmatch(text):
            continue
        starts = range(0, max(1, len(text) - _OVERLAP), _BLOCK - _OVERLAP)
        for start in starts:
            yield text[max(0, min(start, len(text) - _BLOCK)) : start + _BLOCK]


def _quoted(text: str) -> Iterator[bytes]:
    """Yield a text unchanged, and escaped for JSON, URLs, HTML and a shell."""
    yield _bytes(text)
    if _PLAIN.fullmatch(text):
        return
    for escapes in _SAFE_JSON:
        for coded in (text.translate(escapes), json.dumps(text)[1:-1].translate(escapes)):
            yield _bytes(coded)
            yield _bytes(_UNICODE_ESCAPE.sub(lambda match: "\\u" + match[0][2:].upper(), coded))
    for safe in _URL_SAFE:
        yield from _both_cases(quote(_bytes(text), safe=safe))
    yield from _both_cases(quote_plus(_bytes(text)))
    escaped = html.escape(text)
    yield from map(_bytes, (escaped, escaped.replace("&#x27;", "&#39;"), html.escape(text, quote=False)))
    yield from map(_bytes, (text.replace("'", "'\\''"), text.replace("'", "'\"'\"'")))


def _both_cases(coded: str) -> Iterable[bytes]:
    return {coded.encode(), _PERCENT.sub(lambda match: match[0].lower(), coded).encode()}


def _coded(data: bytes) -> Iterator[bytes]:
    """Yield hexadecimal, and in both base64 alphabets the part that does not depend on neighbouring bytes."""
    yield data.hex().encode()
    yield data.hex().upper().encode()
    for shift, start in enumerate((0, 2, 3)):  # so many characters depend on so many bytes before
        coded = base64.b64encode(b"\0" * shift + data)
        inner = coded[start : (shift + len(data)) * 8 // 6]
        if len(inner) >= _SHORTEST_CODED:
            yield inner
            yield inner.translate(_TO_URL_ALPHABET)
