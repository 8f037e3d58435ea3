"""Finds a text in events of a log, as readers see it: in output, also where it is split over events, and in words.

ASCII letters match in either case. An event is one hit, however often the text is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from db.model import EventRow

_AROUND = 100
"""Bytes of a line that are shown before and after the text."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An event in which the text ends, and the line around it."""

    event: EventRow
    line: str


class TextSearch:
    """A text to find; events are given in order, those of one attempt's stream in the order of its output."""

    def __init__(self, text: str) -> None:
        self._text = text.encode().lower()
        self._in_json = orjson.dumps(self._text.decode())[1:-1]
        self._kept: dict[tuple[int | None, int | None, str | None], bytes] = {}
        """By stream: the end of its output, in which a text may begin."""

    def hits(self, events: Sequence[EventRow]) -> Iterator[Hit]:
        """Yield the events in which the text ends."""
        for event in events:
            line = self._in_output(event) if event.type == "output" else self._in_words(event)
            if line is not None:
                yield Hit(event, line)

    def _in_output(self, event: EventRow) -> str | None:
        stream = (event.job, event.attempt, event.stream)
        data = self._kept.get(stream, b"") + (event.data or b"")
        at = data.lower().find(self._text)
        # what is kept is shorter than the text, so nothing is found twice
        self._kept[stream] = data[-(len(self._text) - 1) :] if len(self._text) > 1 else b""
        return None if at < 0 else _line(data, at, len(self._text))

    def _in_words(self, event: EventRow) -> str | None:
        body = (event.body or "").encode()
        if self._in_json not in body.lower():  # most events have no such text, and are not parsed
            return None
        for words in _texts(orjson.loads(body)):
            data = words.encode()
            at = data.lower().find(self._text)
            if at >= 0:
                return _line(data, at, len(self._text))
        return None


def _line(data: bytes, at: int, size: int) -> str:
    """Return the part of a line around a text, without bytes that are no UTF-8."""
    begin = max(data.rfind(b"\n", 0, at) + 1, at - _AROUND)
    found = data.find(b"\n", at + size)
    end = min(len(data) if found < 0 else found, at + size + _AROUND)
    return data[begin:end].decode("utf-8", "ignore").rstrip("\r")


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a value of JSON, but not the names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)
