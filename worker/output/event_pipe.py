"""Reads the events that a job writes to its events pipe (``ADO_EVENTS_FD``): one JSON object in each line.

A job may write anything there. A line that is too long, or is not an event of a type that jobs may write, becomes a
``dropped`` event and does not end the attempt. Memory is bounded by the longest line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from worker.output.buffer import Outbox
from worker.output.lines import bounded_lines
from worker.output.masking import Secrets
from worker.output.wire_events import dropped

JOB_TYPES = ("progress", "agent")  # a tuple, because the type that a job sends may not be hashable
LINE_BYTES = 1000 * 1024

OnEvent = Callable[[Mapping[str, Any]], object]


class EventPipe:
    """Reads one events pipe to its end of file; ``on_event`` is called with each accepted event."""

    def __init__(self, fd: int, outbox: Outbox, secrets: Secrets, on_event: OnEvent) -> None:
        self._fd = fd
        self._outbox = outbox
        self._secrets = secrets
        self._on_event = on_event

    async def run(self) -> None:
        """Read to the end of file; while the outbox is full, nothing is read and the job's writes block."""
        async with contextlib.aclosing(bounded_lines(self._fd, LINE_BYTES)) as pieces:
            async for line, size in pieces:
                if line is None:
                    self._outbox.add(dropped(size, "line_too_long"))
                elif line.strip():
                    self._take(await self._secrets.mask_in_turns(line))
                await self._outbox.wait_for_room()

    def _take(self, line: bytes) -> None:
        # orjson refuses what the server would refuse: lone surrogates, NaN, more than 1024 levels
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            self._outbox.add(dropped(len(line), "not_json"))
            return
        if not isinstance(event, dict) or event.get("type") not in JOB_TYPES:
            self._outbox.add(dropped(len(line), "not_an_event"))
            return
        self._outbox.put({**event, "at": datetime.now(UTC).isoformat()}, len(line))
        self._on_event(event)
