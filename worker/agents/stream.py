"""Reads the stdout of an AI agent: its lines of JSON become events, which carry the line itself as ``raw``.

If a line becomes several events, the first carries it. A line without an event becomes ``other``. A line too long for
one event is carried in pieces; ``rawContinues`` says that more follow. Anything but a JSON object is output, as it was
written. When the outbox is full nothing is read, and the agent waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson

from worker.agents import events
from worker.agents.base import AgentReader
from worker.agents.verdict import Event, Outcome
from worker.output.buffer import Outbox
from worker.output.lines import lines
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
"""Members of events that are read here; an agent's line may hold a value of any type in them."""


class AgentStream:
    """Reads one agent's stdout until its end of file."""

    def __init__(
        self,
        fd: int,
        reader: AgentReader,
        outbox: Outbox,
        secrets: Secrets = NO_SECRETS,
        on_event: Callable[[Event], object] = lambda _: None,
        directory: str = "",
    ) -> None:
        self._fd = fd
        self._reader = reader
        self._outbox = outbox
        self._secrets = secrets
        self._fragments = Masker(secrets)
        self._on_event = on_event
        self._directory = f"{directory}/"
        self._tools: set[str | None] = set()
        self._stderr_line = b""
        self._stderr_tail = b""
        self._active_at = time.monotonic()

    async def run(self) -> None:
        """Read to the end."""
        async with contextlib.aclosing(lines(self._fd, _LINE_BYTES)) as pieces:
            async for line in pieces:
                self.note_activity()
                await self._read_line(await self._secrets.mask_in_turns(line))
                await self._outbox.wait_for_room()

    def feed_stderr(self, data: bytes) -> None:
        """Read events from what the agent writes to stderr, and keep its end for ``explain``."""
        self.note_activity()
        self._stderr_tail = (self._stderr_tail + data)[-_TAIL_BYTES:]
        *complete, self._stderr_line = (self._stderr_line + data).split(b"\n")
        self._stderr_line = self._stderr_line[-_READ_BYTES:]
        for line in complete:
            for event in self._parse(self._reader.feed_stderr, line.decode("utf-8", "replace")):
                self._outbox.put({"type": "agent", **event})
                self._on_event(event)

    def explain(self, outcome: Outcome) -> Outcome:
        """Add the end of stderr to a failure that the agent did not report itself: it usually says why."""
        tail = self._stderr_tail.decode("utf-8", "replace").strip()
        if outcome.outcome != "failed" or outcome.reason not in _UNREPORTED or not tail:
            return outcome
        return replace(outcome, message=f"{outcome.message}; its last words: {tail}")

    @property
    def runs_tools(self) -> bool:
        """Whether a tool of the agent runs."""
        return bool(self._tools)

    def note_activity(self) -> None:
        """Count its silence from now on."""
        self._active_at = time.monotonic()

    async def stalled(self, seconds: float, is_waiting: Callable[[], bool] = lambda: False) -> None:
        """Wait until it has written nothing for so long while no tool runs and it does not wait for an answer."""
        while True:
            left = self._active_at + seconds - time.monotonic()
            if left <= 0 and not self._tools and not is_waiting():
                return
            await asyncio.sleep(max(left, min(1.0, seconds)))

    async def _read_line(self, line: bytes) -> None:
        for event in self._events(line):
            if len(line) > _READ_BYTES:
                await asyncio.sleep(0)
            self._track_tools(event)
            self._outbox.put({"type": "agent", **{name: _cut(name, value) for name, value in event.items()}})
            self._on_event(event)

    def _events(self, line: bytes) -> Iterator[Event]:
        """Yield the events of a line, in short steps; anything but a JSON object becomes output."""
        try:
            message = orjson.loads(line)
        except orjson.JSONDecodeError:
            message = None
        if isinstance(message, dict):
            parsed = self._parse(self._reader.feed, message) or [events.other()]
            masked = self._mask_across_lines(parsed[0])
            yield from with_raw(parsed, line.decode().rstrip("\n")) if masked is None else [masked, *parsed[1:]]
            return
        for start in range(0, len(line), _READ_BYTES):
            piece = line[start : start + _READ_BYTES]
            self._outbox.write("stdout", piece, is_text(piece))

    def _parse(self, reader: Callable[[Any], list[Event]], line: Any) -> list[Event]:
        """Return the events of a line; none if it has another shape than the reader knows, because agents change."""
        try:
            parsed = reader(line)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            _log.warning("agent's line not understood", extra={"error": type(error).__name__})
            return []
        texts = [event[name] for event in parsed for name in _TEXTS if name in event]
        return parsed if all(isinstance(text, str) for text in texts) else []

    def _mask_across_lines(self, event: Event) -> Event | None:
        """Return an event whose part of a secret, divided over several lines, is masked; None if it has none.

        Such an event does not carry its line, because the line contains the masked or held back part.
        """
        fragment = event.pop("fragment", None)
        if event["event"] == "text_delta":
            fragment = event["text"]
        if fragment is None:
            if held := self._fragments.flush():
                rest = events.text_delta(held.decode("utf-8", "replace"))
                self._outbox.put({"type": "agent", **rest})
            self._fragments = Masker(self._secrets)
            return None
        clear = self._fragments.feed(fragment.encode())
        if (self._fragments.patience or 1.0) < 1.0:  # too few bytes are held back to be a secret
            clear += self._fragments.flush()
        text = clear.decode("utf-8", "replace")
        if text == fragment:
            return None
        return {**event, "text": text} if "text" in event else event

    def _track_tools(self, event: Event) -> None:
        """Note which tools run, and shorten paths in titles."""
        if "title" in event:  # agents write absolute paths; a person knows them relative to the repository
            event["title"] = event["title"].removeprefix(self._directory)
        if event["event"] == "tool_start" and "toolId" in event:
            self._tools.add(event["toolId"])
        elif event["event"] == "tool_end":
            self._tools.discard(event.get("toolId"))


def _cut(name: str, value: Any) -> Any:
    """Return a member of an event, cut if it is too long; ``raw`` was divided before."""
    too_long = name != "raw" and isinstance(value, str) and len(value) > _MEMBER_CHARS
    return value[:_MEMBER_CHARS] + "…" if too_long else value


def with_raw(parsed: list[Event], raw: str) -> list[Event]:
    """Return the events with their line: in the first event, and if it is long, in further pieces after it."""
    pieces = [raw[start : start + _RAW_CHARS] for start in range(0, len(raw), _RAW_CHARS)]
    first = {**parsed[0], "raw": pieces[0]}
    rest = [{**events.other(), "raw": piece} for piece in pieces[1:]]
    carriers = [first, *rest]
    for carrier in carriers[:-1]:
        carrier["rawContinues"] = True
    return [*carriers, *parsed[1:]]
