"""The events of an AI agent as text for a person, without I/O.

Its text goes to stdout as it is written. A tool is one line on stderr: on a terminal it appears when the tool starts,
and its outcome is added at the end. Retries, refusals and errors go to stderr. With several jobs, and with timestamps,
only whole lines are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_TITLE_CHARS = 120
Said = tuple[int, str]
"""File descriptor (1 or 2) and the text for it; a text without a line end is continued by the next one."""


class AgentLines:
    """The agent events of one job as text."""

    def __init__(self, *, whole: bool, live: bool) -> None:
        self._whole = whole
        self._live = live and not whole
        self._words = ""
        self._mid_line = False
        self._open_tool: str | None = None

    def feed(self, event: Mapping[str, Any]) -> Iterator[Said]:
        """Yield what to write for one event."""
        kind = event.get("event")
        if kind == "text_delta":
            yield from self._write(str(event.get("text", "")))
        elif kind == "text":
            if not event.get("streamed"):
                yield from self.flush()
                yield from self._write(str(event.get("text", "")))
            yield from self.flush()
        elif kind == "tool_start" and self._live:
            yield from self.flush()
            self._open_tool = event.get("toolId")
            yield 2, tool_line(event)
        elif kind == "tool_end":
            if self._open_tool is None or self._open_tool != event.get("toolId"):
                yield from self.flush()
                yield 2, tool_line(event)
            self._open_tool = None
            yield 2, f"{outcome(event)}\n"
        elif text := remark(event):
            yield from self.flush()
            yield 2, f"{text}\n"

    def _write(self, text: str) -> Iterator[Said]:
        if self._open_tool is not None:
            yield from self.flush()
        if not self._whole:
            if text:
                self._mid_line = not text.endswith("\n")
                yield 1, text
            return
        *lines, self._words = (self._words + text).split("\n")
        for line in lines:
            yield 1, f"{line}\n"

    def flush(self) -> Iterator[Said]:
        """Yield the end of a line that is open."""
        if self._open_tool is not None:
            self._open_tool = None
            yield 2, "\n"
        if self._words or self._mid_line:
            words, self._words, self._mid_line = self._words, "", False
            yield 1, f"{words}\n"


def tool_line(event: Mapping[str, Any]) -> str:
    """Return the line of a tool without its outcome."""
    kind = event.get("kind", "other")
    name = event.get("tool") if kind == "other" else kind
    title, *more = str(event.get("title", "")).strip().split("\n")
    cut = f"{title[:_TITLE_CHARS]} …" if more or len(title) > _TITLE_CHARS else title
    return f"⚙ {name} {cut}".rstrip()


def outcome(event: Mapping[str, Any]) -> str:
    """Return the outcome of a tool, to be added to its line."""
    counts = [f"{sign}{event[key]}" for sign, key in (("+", "added"), ("−", "removed")) if key in event]  # noqa: RUF001
    if counts:
        return f" {' '.join(counts)}"
    if "exitCode" in event:
        return f" → exit {event['exitCode']}"
    if not event.get("ok"):
        reason = str(event.get("output", "")).strip().split("\n", 1)[0]
        return f" → failed: {reason[:_TITLE_CHARS]}" if reason else " → failed"
    return ""


def remark(event: Mapping[str, Any]) -> str:
    """Return the line for an event that is neither text nor a tool; empty for an event that needs none."""
    message = str(event.get("message", "")).strip().split("\n", 1)[0]
    match event.get("event"):
        case "retry":
            limit = f" of {event['limit']}" if "limit" in event else ""
            return f"↻ the model is asked again ({event.get('attempt')}{limit}): {message}"
        case "permission" if event.get("decision") == "denied":
            return f"✗ not allowed: {event.get('tool')}{f': {message}' if message else ''}"
        case "error":
            return f"✗ {message}"
        case "result" if not event.get("ok"):
            return f"✗ the agent failed: {message}" if message else "✗ the agent failed"
    return ""


def own_line(event: Mapping[str, Any]) -> str:
    """Return the agent's own line, or a part of it, from an event."""
    raw = event.get("raw")
    if raw is None:
        return ""
    return str(raw) if event.get("rawContinues") else f"{raw}\n"
