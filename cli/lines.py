"""Events as lines, without I/O: what goes to stdout, what to stderr, and never half a line among other jobs' lines."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.agent_lines import AgentLines, own_line
from cli.terminal import dim, neutralise, prefix, split_sequence
from cli.visible import one_line, visible

Piece = tuple[int, bytes]
"""File descriptor (1 or 2) and what to write there."""

_ERASE_LINE = b"\r\x1b[K"


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
    own: bool = False
    """Whether an AI agent's own lines are shown instead of what they say."""

    @property
    def whole(self) -> bool:
        """Whether only whole lines are written."""
        return self.prefixed or self.timestamps


@dataclass(slots=True)
class _Line:
    """A line that has no end yet, in the pieces in which it came: joined once, a long line costs linear time."""

    pieces: list[bytes] = field(default_factory=list)
    at: str = ""
    """When its last piece was written."""

    def take(self) -> bytes:
        """Return it and begin a new one."""
        line = b"".join(self.pieces)
        self.pieces.clear()
        return line


class Lines:
    """Turns events into pieces; partial lines are held until their end, or the end of their attempt.

    A line that is rewritten by carriage returns is shown each time: on a terminal in its place, as long as nothing else
    was written since, and elsewhere as lines.
    """

    def __init__(self, style: Style) -> None:
        self._style = style
        self._partial: dict[tuple[int, int], _Line] = {}
        self._torn: dict[tuple[int, int], bytes] = {}
        self._attempts: dict[int, int] = {}
        self._agents: dict[int, AgentLines] = {}
        self._rewritten: tuple[int, int] | None = None
        """Whose line stands on the terminal without an end."""

    def feed(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        """Yield what to write for one event."""
        kind = event["type"]
        if kind == "output":
            yield from self._output(event, 1 if event["stream"] == "stdout" else 2, payload(event))
            return
        if kind == "agent":
            yield from self._agent(event)
            return
        if kind in ("finished", "requeued", "released") and event["job"] is not None:
            yield from self._flush(event["job"])
        if text := note(event):
            yield from self._leave_rewritten()
            yield 2, dim(visible(one_line(text)), coloured=self._style.coloured).encode() + b"\n"

    def rest(self) -> Iterator[Piece]:
        """Yield the lines that have no end when nothing comes any more."""
        for job in sorted({job for job, _ in [*self._partial, *self._torn]} | set(self._agents)):
            yield from self._flush(job)
        yield from self._leave_rewritten()

    def _agent(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        if self._style.own:
            if line := own_line(event):
                yield from self._output(event, 1, line.encode())
            return
        job = event["job"]
        if job not in self._agents:
            self._agents[job] = AgentLines(whole=self._style.whole, live=self._style.safe)
        for fd, text in self._agents[job].feed(event):
            yield from self._said(event, fd, text)

    def _said(self, event: Mapping[str, Any], fd: int, text: str) -> Iterator[Piece]:
        """Yield what an agent said (stdout) or what is told of it (stderr, in a quiet colour)."""
        if fd == 1 or self._style.whole:
            yield from self._output(event, fd, text.encode("utf-8", "replace"))
        else:
            quiet = dim(visible(one_line(text.rstrip("\n"))), coloured=self._style.coloured)
            yield fd, quiet.encode() + (b"\n" if text.endswith("\n") else b"")

    def _output(self, event: Mapping[str, Any], fd: int, data: bytes) -> Iterator[Piece]:
        key = (event["job"], fd)
        if not self._style.whole:
            yield from self._stream(key, data)
            return
        attempt = event.get("attempt")
        if attempt is not None and self._attempts.setdefault(event["job"], attempt) != attempt:
            self._attempts[event["job"]] = attempt
            yield from self._flush(event["job"])
        line = self._partial.setdefault(key, _Line())
        line.at = event["at"] or line.at
        *ended, rest = data.split(b"\n")
        for piece in ended:
            line.pieces.append(piece)
            yield from self._write_line(key, line.take(), line.at)
        if rest:
            line.pieces.append(rest)
            if b"\r" in rest:
                yield from self._rewrite(key, line)

    def _stream(self, key: tuple[int, int], data: bytes) -> Iterator[Piece]:
        """Yield output as it comes; a control sequence that is cut in two waits for its other half."""
        if not self._style.safe:
            yield key[1], data
            return
        whole, torn = split_sequence(self._torn.pop(key, b"") + data)
        if torn:
            self._torn[key] = torn
        if whole:
            yield key[1], neutralise(whole)

    def _rewrite(self, key: tuple[int, int], line: _Line) -> Iterator[Piece]:
        """Show the states of a line that goes on; the last one is kept, because its end may be a line's end."""
        *states, current = _states(line.take())
        line.pieces.append(current)
        if not self._style.safe:
            for state in states:
                yield key[1], self._line(key[0], state, line.at)
            return
        shown = current.removesuffix(b"\r") or (states[-1] if states else b"")
        if not shown:
            return
        if self._rewritten != key:
            yield from self._leave_rewritten()
        self._rewritten = key
        yield key[1], _ERASE_LINE + self._line(key[0], shown, line.at)[:-1]

    def _write_line(self, key: tuple[int, int], line: bytes, at: str) -> Iterator[Piece]:
        states = _states(line)
        if self._rewritten == key:  # its last state takes the place of the one before
            self._rewritten = None
            yield key[1], _ERASE_LINE
        yield from self._leave_rewritten()
        for state in states[-1:] if self._style.safe else states:
            yield key[1], self._line(key[0], state, at)

    def _leave_rewritten(self) -> Iterator[Piece]:
        """End the line that stands on the terminal, so that nothing is written over it."""
        if self._rewritten is not None:
            fd, self._rewritten = self._rewritten[1], None
            yield fd, b"\n"

    def _line(self, job: int, line: bytes, at: str) -> bytes:
        text = neutralise(line) if self._style.safe else line
        stamp = f"{at} ".encode() if self._style.timestamps and at else b""
        head = prefix(job, coloured=self._style.coloured) if self._style.prefixed else b""
        return head + stamp + text + b"\n"

    def _flush(self, job: int) -> Iterator[Piece]:
        if agent := self._agents.pop(job, None):
            for fd, text in agent.flush():
                yield from self._said({"job": job, "at": ""}, fd, text)
        for fd in (1, 2):
            if torn := self._torn.pop((job, fd), b""):
                yield fd, neutralise(torn)
            line = self._partial.pop((job, fd), None)
            if line is not None and line.pieces:
                yield from self._write_line((job, fd), line.take(), line.at)


def _states(line: bytes) -> list[bytes]:
    """Return what a line shows one after the other, by its carriage returns; the last one keeps one that ends it."""
    end = b"\r" if line.endswith(b"\r") else b""
    *states, last = line.removesuffix(b"\r").split(b"\r")
    return [*(state for state in states if state), last + end]


class LastLines:
    """The last ``limit`` lines of what is added; one without an end counts, whatever the other stream wrote amid it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._whole: deque[tuple[int, bytes, bool]] = deque(maxlen=limit)
        self._open: dict[int, list[bytes]] = {}  # in pieces: joining a long line at each one costs quadratic time
        self._begun: set[int] = set()

    @property
    def full(self) -> bool:
        """Whether there are as many lines as wished, none of which may have begun before what was added."""
        lines = self._lines()
        return len(lines) == self._limit and all(entire for _, _, entire in lines)

    def add(self, pieces: Iterable[Piece]) -> None:
        """Take what would be written."""
        for fd, data in pieces:
            *whole, rest = data.split(b"\n")
            for piece in whole:
                line = b"".join([*self._open.pop(fd, []), piece, b"\n"])
                self._whole.append((fd, line, fd in self._begun))
                self._begun.add(fd)
            if rest:
                self._open.setdefault(fd, []).append(rest)

    def pieces(self) -> list[Piece]:
        """Return the lines that are wanted."""
        return [(fd, line) for fd, line, _ in self._lines()]

    def _lines(self) -> list[tuple[int, bytes, bool]]:
        unended = [(fd, b"".join(pieces), fd in self._begun) for fd, pieces in self._open.items()]
        return [*self._whole, *unended][-self._limit :] if self._limit else []


def note(event: Mapping[str, Any]) -> str:
    """Return what to say about an event that is not output; empty for what speaks for itself."""
    who = f"[{event['job']}] " if event.get("job") is not None else ""
    reason = event.get("reason")
    attempt = f"{who}attempt {event.get('attempt')}"
    if event["type"] == "progress":
        percent = event.get("percent")
        return f"ado: {who}{f'{percent}% ' if percent is not None else ''}{event.get('message', '')}".rstrip()
    if event["type"] == "pod":
        return f"ado: {who}pod {event.get('pod')}: {reason}: {event.get('message')} (next: {event.get('hint')})"
    return {
        "requeued": f"ado: {attempt} ended ({reason}); the job is queued again",
        "released": f"ado: {attempt} was handed back ({reason}); the job is queued again",
        "retried": "ado: the failed jobs are queued again",
        "cancel_requested": f"ado: cancelled{f' ({reason})' if reason else ''}",
        "dropped": f"ado: {who}{event.get('bytes')} bytes that the job wrote could not be stored ({reason}); "
        "the job runs on",
        "truncated": f"ado: {who}output has reached the server's limit of {event.get('limitBytes')} bytes; "
        "what follows is dropped, the job runs on",
    }.get(event["type"], "")
