"""Events as lines for stdout and stderr, without I/O; lines of several jobs are never mixed."""

from __future__ import annotations

import base64
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from cli.render.agent_lines import AgentLines, own_line
from cli.render.escape_sequences import EscapeFilter, plain
from cli.render.layout import wrap
from cli.render.line_editor import ListedLine, OpenLine
from cli.render.questions import answer_command
from cli.render.sgr import RESET, Attributes
from cli.render.terminal import dim, prefix
from cli.render.visible import one_line, visible

_Key = tuple[int, int, str]
"""A job, a file descriptor, and what wrote there: setup, check, or nothing for the agent."""
Piece = tuple[int, bytes]
"""File descriptor (1 or 2) and what to write there."""

_ERASE_LINE = b"\r\x1b[K"
_SEQUENCES = re.compile(rb"\x1b\[[0-9;:]*[mK]")
_COLUMNS = 80
_LEAST_SHARE = 12
_NAMED_JOBS = 5  # their numbers fit a line
"""Smallest useful width of a job's progress."""


def payload(event: Mapping[str, Any]) -> bytes:
    """Return the bytes of an output event; an event of a local run holds them unencoded."""
    data: str | bytes = event["data"]
    if isinstance(data, bytes):
        return data
    return base64.b64decode(data) if event.get("encoding") == "base64" else data.encode()


@dataclass(frozen=True, slots=True)
class Style:
    """How lines are written: prefixes for several jobs, which descriptors are terminals, colours, timestamps."""

    prefixed: bool
    terminals: frozenset[int] = frozenset()
    coloured: bool = False
    timestamps: bool = False
    own: bool = False
    """Whether an AI agent's own lines are shown instead of what they say."""
    columns: Callable[[], int] = lambda: _COLUMNS
    dumb: bool = False
    """Whether the terminals cannot erase a line."""

    @property
    def whole(self) -> bool:
        """Whether only whole lines are written."""
        return self.prefixed or self.timestamps

    def colours(self, fd: int) -> bool:
        """Whether a descriptor shows colours."""
        return self.coloured and fd in self.terminals


class _Stream:
    """One stream of one job: its filter and its unfinished line."""

    def __init__(self, style: Style, fd: int) -> None:
        seen = fd in style.terminals
        erasing = seen and not style.dumb
        self.filter = EscapeFilter(coloured=style.colours(fd), erasing=erasing, exact=not seen)
        self.line = OpenLine() if erasing else ListedLine()
        self.attributes = Attributes()
        self.interrupted = False
        """Whether ado has written in its own colours since the last output."""
        self.at = ""
        """When its last piece was written."""


class Lines:
    """Turns events into pieces; partial lines are held until their end, or the end of their attempt.

    Lines that overwrite themselves are shown while they are written: on a terminal those of all jobs share the last
    row, below the finished lines; elsewhere each state is a line.
    """

    def __init__(self, style: Style) -> None:
        self._style = style
        self._streams: dict[_Key, _Stream] = {}
        self._attempts: dict[int, int] = {}
        self._agents: dict[int, AgentLines] = {}
        self._progress: dict[_Key, OpenLine] = {}
        """The lines that are shown in the last row."""
        self._drawn = 0
        """The descriptor on which the last row is drawn; 0 for none."""
        self._stale = False
        """Whether the last row shows less than it could."""
        self._unfinished_on = 0
        """The terminal whose cursor is inside an unfinished line other than progress; 0 for none."""

    def feed(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        """Yield what to write for one event."""
        yield from self._watched(self._event(event))
        if self._stale:
            yield from self._draw()

    def rest(self) -> Iterator[Piece]:
        """Yield the unfinished lines at the end of the log, and reset the terminal's colours."""
        yield from self._watched(self._rest())
        for (_, fd, _), stream in self._streams.items():
            if stream.attributes and not stream.interrupted:
                stream.interrupted = True
                yield fd, RESET.encode()

    def make_room(self) -> Iterator[Piece]:
        """Yield what moves the cursor to the first column of an empty row."""
        yield from self._erase()
        for (_, fd, _), stream in self._streams.items():
            if stream.attributes and not stream.interrupted:
                stream.interrupted = True
                yield fd, RESET.encode()
        if self._unfinished_on:
            fd, self._unfinished_on = self._unfinished_on, 0
            yield fd, b"\n"

    def _watched(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Pass pieces on, and note whether the cursor is inside a line."""
        for fd, data in pieces:
            yield fd, data
            if fd in self._style.terminals and (seen := _SEQUENCES.sub(b"", data[-256:])):
                self._unfinished_on = 0 if seen.endswith(b"\n") else fd

    def _event(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        kind = event["type"]
        if "source" not in event:
            yield from self._end_commands(event.get("job"))
        if kind == "output":
            yield from self._output(event, 1 if event["stream"] == "stdout" else 2, payload(event))
            return
        if kind == "agent":
            yield from self._agent(event)
            return
        if kind in ("finished", "requeued", "released") and event["job"] is not None:
            yield from self._flush(event["job"])
        if text := note(event):
            yield from self.make_room()
            for line in wrap(
                visible(one_line(plain(text))), self._style.columns() if 2 in self._style.terminals else None
            ):
                yield 2, dim(line, coloured=self._style.colours(2)).encode() + b"\n"

    def _rest(self) -> Iterator[Piece]:
        for job in sorted({job for job, *_ in self._streams} | set(self._agents)):
            yield from self._flush(job)

    def _agent(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        if self._style.own:
            if line := own_line(event):
                yield from self._output(event, 1, line.encode())
            return
        job = event["job"]
        if job not in self._agents:
            self._agents[job] = AgentLines(whole=self._style.whole, live=self._style.terminals >= {1, 2})
        for fd, text in self._agents[job].feed(event):
            yield from self._agent_text(event, fd, text)

    def _agent_text(self, event: Mapping[str, Any], fd: int, text: str) -> Iterator[Piece]:
        """Yield an agent's text (stdout) or a line about it (stderr, dimmed)."""
        if fd == 1 or self._style.whole:
            yield from self._output(event, fd, text.encode("utf-8", "replace"))
        else:
            words = visible(one_line(plain(text.rstrip("\n"))))
            yield fd, dim(words, coloured=self._style.colours(fd)).encode() + (b"\n" if text.endswith("\n") else b"")

    def _output(self, event: Mapping[str, Any], fd: int, data: bytes) -> Iterator[Piece]:
        attempt = event.get("attempt")
        if attempt is not None and self._attempts.setdefault(event["job"], attempt) != attempt:
            self._attempts[event["job"]] = attempt
            yield from self._flush(event["job"])
        source = str(event.get("source", ""))
        key = (event["job"], fd, source)
        if not self._style.whole and not source and fd not in self._style.terminals:
            yield fd, data
            return
        stream = self._streams.setdefault(key, _Stream(self._style, fd))
        stream.at = event["at"] or stream.at
        text = stream.filter.feed(data)
        if self._style.whole or source:
            yield from self.make_room() if source and text else ()
            yield from self._write(key, stream, text)
        elif text:
            yield fd, _as_it_comes(stream, text).encode()

    def _write(self, key: _Key, stream: _Stream, text: str) -> Iterator[Piece]:
        """Yield the lines that a text ends, and show the unfinished one if it overwrites itself."""
        *ended, rest = text.split("\n")
        for piece in ended:
            yield from self._write_line(key, stream, piece)
        if isinstance(stream.line, ListedLine):
            for state in stream.line.write(rest):
                yield from self._line(key, stream, state)
            return
        stream.line.write(rest)
        if rest and stream.line.rewritten and not key[2]:
            self._progress[key] = stream.line
            self._stale = True

    def _write_line(self, key: _Key, stream: _Stream, text: str) -> Iterator[Piece]:
        if isinstance(stream.line, ListedLine):
            for state in [*stream.line.write(text), *stream.line.end()]:
                yield from self._line(key, stream, state)
            return
        stream.line.write(text)
        self._progress.pop(key, None)
        yield from self._line(key, stream, stream.line.end())

    def _line(self, key: _Key, stream: _Stream, text: str) -> Iterator[Piece]:
        yield from self._erase()
        data = text.encode("utf-8", "surrogateescape")
        yield key[1], self._head(key, stream) + data + b"\n"

    def _head(self, key: _Key, stream: _Stream) -> bytes:
        job, fd, source = key
        head = prefix(job, coloured=self._style.colours(fd)) if self._style.prefixed else b""
        at = f"{stream.at} " if self._style.timestamps and stream.at else ""
        return head + f"{at}{f'{source}: ' if source else ''}".encode()

    def _erase(self) -> Iterator[Piece]:
        """Erase the last row, so that a line can take its place."""
        if self._drawn:
            fd, self._drawn, self._stale = self._drawn, 0, bool(self._progress)
            yield fd, _ERASE_LINE

    def _draw(self) -> Iterator[Piece]:
        """Show the progress of all jobs in the last row, each in its share of the columns."""
        self._stale = False
        if not self._progress:
            return
        lines = sorted(self._progress.items(), key=itemgetter(0))
        rows = [self._head(key, self._streams[key]).decode() + str(line) for key, line in lines]
        self._drawn = next(reversed(self._progress))[1]
        yield self._drawn, _ERASE_LINE + in_one_row(rows, self._style.columns() - 1).encode()

    def _flush(self, job: int) -> Iterator[Piece]:
        if agent := self._agents.pop(job, None):
            for fd, text in agent.flush():
                yield from self._agent_text({"job": job, "at": ""}, fd, text)
        for key in sorted(key for key in self._streams if key[0] == job):
            yield from self._flush_stream(key)

    def _end_commands(self, job: int | None) -> Iterator[Piece]:
        """Yield the unfinished line of a setup or check before something else of its job."""
        for source in ("setup", "check"):
            if job is not None and (job, 2, source) in self._streams:
                yield from self._flush_stream((job, 2, source))

    def _flush_stream(self, key: _Key) -> Iterator[Piece]:
        stream, (_, fd, source) = self._streams[key], key
        text = stream.filter.feed(b"", last=True)
        if not self._style.whole and not source:
            if text:
                yield fd, _as_it_comes(stream, text).encode()
            return
        if text:
            yield from self._write(key, stream, text)
        if stream.line:
            yield from self._write_line(key, stream, "")
        del self._streams[key]


def _as_it_comes(stream: _Stream, text: str) -> str:
    """Return output with the colours that held before ado wrote something of its own."""
    before = str(stream.attributes) if stream.interrupted else ""
    stream.interrupted = False
    stream.attributes.read(text)
    return before + text


def in_one_row(texts: Sequence[str], columns: int) -> str:
    """Return texts beside each other; if they are too wide, each gets an equal share, and some are only counted."""
    from wcwidth import clip, width

    gap = "  "
    widths = [width(text) for text in texts]
    if sum(widths) + len(gap) * (len(texts) - 1) <= columns:
        return gap.join(texts)
    limit = max(1, (columns + len(gap)) // (_LEAST_SHARE + len(gap)))
    visible_texts = texts if len(texts) <= limit else texts[: max(1, limit - 1)]
    more = f"+{len(texts) - len(visible_texts)}" if len(visible_texts) < len(texts) else ""
    room = columns - (len(more) + len(gap) if more else 0)
    share = max(1, (room + len(gap)) // len(visible_texts) - len(gap))
    return gap.join([*(clip(text, 0, share) for text in visible_texts), *([more] if more else [])])


class LastLines:
    """The last ``limit`` lines of what is added. An unfinished line counts."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._whole: deque[tuple[int, bytes, bool]] = deque(maxlen=limit)
        self._open: dict[int, list[bytes]] = {}  # in pieces: joining a long line at each one costs quadratic time
        self._begun: set[int] = set()

    @property
    def full(self) -> bool:
        """Whether there are ``limit`` lines, all of which began within what was added."""
        lines = self._lines()
        return len(lines) == self._limit and all(entire for _, _, entire in lines)

    def add(self, pieces: Iterable[Piece]) -> None:
        """Add pieces that would be written."""
        for fd, data in pieces:
            *whole, rest = data.split(b"\n")
            for piece in whole:
                line = b"".join([*self._open.pop(fd, []), piece, b"\n"])
                self._whole.append((fd, line, fd in self._begun))
                self._begun.add(fd)
            if rest:
                self._open.setdefault(fd, []).append(rest)

    def pieces(self) -> list[Piece]:
        """Return the last lines."""
        return [(fd, line) for fd, line, _ in self._lines()]

    def _lines(self) -> list[tuple[int, bytes, bool]]:
        unended = [(fd, b"".join(pieces), fd in self._begun) for fd, pieces in self._open.items()]
        return [*self._whole, *unended][-self._limit :] if self._limit else []


def note(event: Mapping[str, Any]) -> str:
    """Return the line for an event that is not output; empty for an event that needs none."""
    who = f"[{event['job']}] " if event.get("job") is not None else ""
    reason = event.get("reason")
    attempt = f"{who}attempt {event.get('attempt')}"
    if event["type"] == "progress":
        percent = event.get("percent")
        return f"ado: {who}{f'{percent}% ' if percent is not None else ''}{event.get('message', '')}".rstrip()
    if event["type"] == "pod":
        return f"ado: {who}pod {event.get('pod')}: {reason}: {event.get('message')} (next: {event.get('hint')})"
    if event["type"] == "question":
        labels = "" if event["kind"] == "permission" else ", ".join(option["label"] for option in event["options"])
        asks = "asks to" if event["kind"] == "permission" else "asks:"
        return f"ado: {who}{asks} {event['text']}{f' ({labels})' if labels else ''} (next: {answer_command(event)})"
    if event["type"] == "answer":
        answer = event.get("choice", event.get("text"))
        if event.get("expired"):
            return f"ado: {who}{event['questionId']} was not answered in time" + (f": {answer}" if answer else "")
        return f"ado: {who}{event['questionId']} was answered by {event.get('by')}: {answer}"
    by = event.get("by") or "an administrator"
    next_state = "the job is paused" if event.get("paused") else "the job is queued again"
    if reason == "question" and event.get("paused"):
        next_state = "the job is paused until the answer comes (next: ado inbox)"
    if reason == "rate_limit" and not event.get("paused"):
        next_state = "the job goes on once the limit is over"
    check = "passed" if event.get("exitCode") == 0 else f"failed with exit code {event.get('exitCode')}"
    return {
        "message": f"ado: {who}message from {by}: {event.get('text')}",
        "check": f"ado: {who}check {event.get('command')!r} {check} (try {event.get('try')}, {event.get('seconds')} s)",
        "budget": f"ado: {who}a limit of the budget is reached: {_reached(event)}",
        "rate_limited": f"ado: {who}{_limited(event)}",
        "delivered": f"ado: {who}{event.get('messageId')} was delivered",
        "continued": f"ado: {who}the job continues with {event.get('messageId')}"
        f"{' once it is resumed' if event.get('paused') else ''}",
        "requeued": f"ado: {attempt} ended ({reason}); {next_state}",
        "released": f"ado: {attempt} was handed back ({reason}); {next_state}",
        "paused": f"ado: paused by {by}{f' ({reason})' if reason else ''}; next: ado resume {event.get('taskId')}",
        "resumed": f"ado: resumed by {by}",
        "picked": f"ado: {who}the result was picked by {by}",
        "retried": f"ado: {_jobs(event.get('jobs') or [])} queued again",
        "cancel_requested": f"ado: cancelled{f' ({reason})' if reason else ''}",
        "dropped": f"ado: {who}{event.get('bytes')} bytes that the job wrote could not be stored ({reason}); "
        "the job runs on",
        "truncated": f"ado: {who}output has reached the server's limit of {event.get('limitBytes')} bytes; "
        "what follows is dropped, the job runs on",
    }.get(event["type"], "")


def _jobs(jobs: Sequence[int]) -> str:
    if len(jobs) == 1:
        return f"job {jobs[0]} is"
    return f"jobs {', '.join(map(str, jobs))} are" if 1 < len(jobs) <= _NAMED_JOBS else f"{len(jobs)} jobs are"


def _limited(event: Mapping[str, Any]) -> str:
    name = event.get("credential")
    return f"the model's service tells {event.get('agent')} to wait until {event.get('until')}" + (
        f" (credential {name})" if name else ""
    )


def _reached(event: Mapping[str, Any]) -> str:
    limit, spent = event.get("limit") or {}, event.get("spent") or {}
    return ", ".join(f"{spent.get(name)} of {amount} {name}" for name, amount in limit.items())
