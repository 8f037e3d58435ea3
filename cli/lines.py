"""Events as lines, without I/O: what goes to stdout, what to stderr, and never half a line among other jobs' lines."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cli.terminal import dim, harmless, neutralise, prefix

Piece = tuple[int, bytes]
"""File descriptor (1 or 2) and what to write there."""


def payload(event: Mapping[str, Any]) -> bytes:
    """Return the bytes of an output event."""
    data: str = event["data"]
    return base64.b64decode(data) if event.get("encoding") == "base64" else data.encode()


@dataclass(frozen=True, slots=True)
class Style:
    """How to write: with prefixes (several jobs), safe for a terminal, in colours, with times."""

    prefixed: bool
    safe: bool = False
    coloured: bool = False
    timestamps: bool = False


class Lines:
    """Turns events into pieces; partial lines are held until their end, or the end of their attempt."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._partial: dict[tuple[int, str], bytes] = {}

    def feed(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        """Yield what to write for one event."""
        kind = event["type"]
        if kind == "output":
            yield from self._output(event)
            return
        if kind in ("finished", "requeued", "released") and event["job"] is not None:
            yield from self._flush(event["job"])
        if text := note(event):
            yield 2, dim(harmless(text), coloured=self._style.coloured).encode() + b"\n"

    def _output(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        fd = 1 if event["stream"] == "stdout" else 2
        data = payload(event)
        if not self._style.prefixed and not self._style.timestamps:
            yield fd, neutralise(data) if self._style.safe else data
            return
        key = (event["job"], event["stream"])
        *whole, rest = (self._partial.pop(key, b"") + data).split(b"\n")
        if rest:
            self._partial[key] = rest
        if whole:
            yield fd, b"".join(self._line(event["job"], line, event) for line in whole)

    def _line(self, job: int, line: bytes, event: Mapping[str, Any] | None) -> bytes:
        text = neutralise(line) if self._style.safe else line
        stamp = f"{event['at']} ".encode() if self._style.timestamps and event else b""
        head = prefix(job, coloured=self._style.coloured) if self._style.prefixed else b""
        return head + stamp + text + b"\n"

    def _flush(self, job: int) -> Iterator[Piece]:
        for stream, fd in (("stdout", 1), ("stderr", 2)):
            if rest := self._partial.pop((job, stream), b""):
                yield fd, self._line(job, rest, None)


def note(event: Mapping[str, Any]) -> str:
    """Return what to say about an event that is not output; empty for what speaks for itself."""
    who = f"[{event['job']}] " if event.get("job") is not None else ""
    reason = event.get("reason")
    attempt = f"{who}attempt {event.get('attempt')}"
    if event["type"] == "progress":
        percent = event.get("percent")
        return f"ado: {who}{f'{percent}% ' if percent is not None else ''}{event.get('message', '')}".rstrip()
    if event["type"] == "pod":
        return f"ado: {who}pod {event['pod']}: {reason}: {event['message']} (next: {event['hint']})"
    return {
        "requeued": f"ado: {attempt} ended ({reason}); the job is queued again",
        "released": f"ado: {attempt} was handed back ({reason}); the job is queued again",
        "retried": "ado: the failed jobs are queued again",
        "cancel_requested": f"ado: cancelled{f' ({reason})' if reason else ''}",
        "truncated": f"ado: {who}output has reached the server's limit of {event.get('limitBytes')} bytes; "
        "what follows is dropped, the job runs on",
    }.get(event["type"], "")
