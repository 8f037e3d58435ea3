"""Hearing an AI agent out: its lines of JSON become events, each with the line itself beside it.

A line may stand for several events; the first carries it as ``raw``. One that stands for none is an event ``other``. A
line too long for one event is carried in pieces, ``rawContinues`` saying that more follows. What is no JSON object is
output, as it was written. When the outbox is full nothing is read and the agent waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson

from worker.agents import events
from worker.agents.base import TURN_ENDS, AgentReader, Event, Outcome
from worker.output.buffer import Outbox
from worker.output.lines import Turn, read_available
from worker.output.masking import NO_SECRETS, Masker, Secrets
from worker.output.wire_events import is_text

_log = logging.getLogger("ado.worker")
_READ_BYTES = 64 * 1024
_LINE_BYTES = 8 * 1024 * 1024
_RAW_CHARS = 128 * 1024  # up to four bytes each: it fits one event beside the other members
_MEMBER_CHARS = 100_000
_TAIL_BYTES = 2000
_UNREPORTED = frozenset({"no_result", "exit_nonzero", "start_failed"})
_TEXTS = ("text", "fragment", "title", "toolId")
"""Members of events that are read here; an agent's line may have put anything there."""


class AgentStream:
    """Reads one agent's stdout until its end of file."""

    def __init__(
        self,
        fd: int,
        reader: AgentReader,
        outbox: Outbox,
        secrets: Secrets = NO_SECRETS,
        turn_ended: Callable[[], object] = lambda: None,
        directory: str = "",
    ) -> None:
        self._fd = fd
        self._reader = reader
        self._outbox = outbox
        self._secrets = secrets
        self._words = Masker(secrets)
        self._turn_ended = turn_ended
        self._directory = f"{directory}/"
        self._tools: set[str | None] = set()
        self._stderr_line = b""
        self._stderr_tail = b""
        self._active_at = time.monotonic()

    async def run(self) -> None:
        """Read to the end."""
        async with contextlib.aclosing(lines(self._fd, _LINE_BYTES)) as found:
            async for line in found:
                self._active_at = time.monotonic()
                await self._hear(await self._secrets.mask_in_turns(line))
                await self._outbox.room()

    def feed_stderr(self, data: bytes) -> None:
        """Take note of what the agent writes to stderr, which is output besides."""
        self._active_at = time.monotonic()
        self._stderr_tail = (self._stderr_tail + data)[-_TAIL_BYTES:]
        *whole, self._stderr_line = (self._stderr_line + data).split(b"\n")
        self._stderr_line = self._stderr_line[-_READ_BYTES:]
        for line in whole:
            for event in self._parse(self._reader.feed_stderr, line.decode("utf-8", "replace")):
                self._outbox.put({"type": "agent", **event})

    def explain(self, outcome: Outcome) -> Outcome:
        """Add the agent's last words on stderr to an end that it did not report itself: they say why."""
        words = self._stderr_tail.decode("utf-8", "replace").strip()
        if outcome.outcome != "failed" or outcome.reason not in _UNREPORTED or not words:
            return outcome
        return replace(outcome, message=f"{outcome.message}; its last words: {words}")

    async def stalled(self, seconds: float) -> None:
        """Wait until the agent has said nothing for so long although no tool of its runs."""
        while True:
            left = self._active_at + seconds - time.monotonic()
            if left <= 0 and not self._tools:
                return
            await asyncio.sleep(max(left, min(1.0, seconds)))

    async def _hear(self, line: bytes) -> None:
        for event in self._said(line):
            if len(line) > _READ_BYTES:
                await asyncio.sleep(0)
            self._note(event)
            self._outbox.put({"type": "agent", **{name: _cut(name, value) for name, value in event.items()}})
            if event["event"] in TURN_ENDS:
                self._turn_ended()

    def _said(self, line: bytes) -> Iterator[Event]:
        """Yield the events of a line, in steps that are short; what is no JSON object becomes output."""
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            said = None
        if isinstance(said, dict):
            found = self._parse(self._reader.feed, said) or [events.other()]
            hidden = self._joined(found[0])
            yield from with_raw(found, line.decode().rstrip("\n")) if hidden is None else [hidden, *found[1:]]
            return
        for start in range(0, len(line), _READ_BYTES):
            piece = line[start : start + _READ_BYTES]
            self._outbox.write("stdout", piece, is_text(piece))

    def _parse(self, reader: Callable[[Any], list[Event]], line: Any) -> list[Event]:
        """Return what a line says; nothing for one of another shape than the adapter knows: agents change."""
        try:
            found = reader(line)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            _log.warning("agent's line not understood", extra={"error": type(error).__name__})
            return []
        texts = [event[name] for event in found for name in _TEXTS if name in event]
        return found if all(isinstance(text, str) for text in texts) else []

    def _joined(self, event: Event) -> Event | None:
        """Return an event with its part of a secret that is divided over several lines masked; None without one.

        The line of which a part is masked or held back is not kept beside its event, because it tells that part.
        """
        fragment = event.pop("fragment", None)
        if event["event"] == "text_delta":
            fragment = event["text"]
        if fragment is None:
            if held := self._words.let_go():
                rest = events.text_delta(held.decode("utf-8", "replace"))
                self._outbox.put({"type": "agent", **rest})
            self._words = Masker(self._secrets)
            return None
        clear = self._words.feed(fragment.encode())
        if (self._words.patience or 1.0) < 1.0:  # so little is no secret
            clear += self._words.let_go()
        text = clear.decode("utf-8", "replace")
        if text == fragment:
            return None
        return {**event, "text": text} if "text" in event else event

    def _note(self, event: Event) -> None:
        if "title" in event:  # agents name files in full; a person knows them from the repository's root
            event["title"] = event["title"].removeprefix(self._directory)
        if event["event"] == "tool_start" and "toolId" in event:
            self._tools.add(event["toolId"])
        elif event["event"] == "tool_end":
            self._tools.discard(event.get("toolId"))


def _cut(name: str, value: Any) -> Any:
    """Return a member of an event, cut where its length would make the event too large; the line itself is not."""
    too_long = name != "raw" and isinstance(value, str) and len(value) > _MEMBER_CHARS
    return value[:_MEMBER_CHARS] + "…" if too_long else value


def with_raw(found: list[Event], raw: str) -> list[Event]:
    """Return the events with the line they came from: in the first, and in pieces after it when it is long."""
    pieces = [raw[start : start + _RAW_CHARS] for start in range(0, len(raw), _RAW_CHARS)]
    first = {**found[0], "raw": pieces[0]}
    rest = [{**events.other(), "raw": piece} for piece in pieces[1:]]
    carriers = [first, *rest]
    for carrier in carriers[:-1]:
        carrier["rawContinues"] = True
    return [*carriers, *found[1:]]


async def lines(fd: int, limit: int) -> AsyncGenerator[bytes]:
    """Yield a pipe's lines with their ends; one longer than ``limit`` comes in parts. Closes the pipe."""
    os.set_blocking(fd, False)
    turn, held = Turn(), bytearray()
    try:
        while data := await read_available(fd, _READ_BYTES):
            *ended, rest = data.split(b"\n")  # what is held has been looked through: a long line takes linear time
            for piece in ended:
                await turn.give()
                yield bytes(held) + piece + b"\n"
                held.clear()
            held += rest
            if len(held) > limit:
                yield bytes(held)
                held.clear()
        if held:
            yield bytes(held)
    finally:
        os.close(fd)
