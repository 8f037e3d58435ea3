"""The events that a job writes to its events pipe (``ADO_EVENTS_FD``): one JSON object a line.

A job may write anything there. A line that is no event of a type that jobs may write, or that is too long, is counted
and told as ``dropped``; it never ends the attempt. Memory is bounded by the longest line that is taken.
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

JOB_TYPES = ("progress", "agent")  # a tuple: what a job sends as the type need not be hashable
LINE_BYTES = 1000 * 1024

Heed = Callable[[Mapping[str, Any]], object]


class EventPipe:
    """Reads one events pipe to its end of file; ``heed`` sees each event that is taken."""

    def __init__(self, fd: int, outbox: Outbox, secrets: Secrets, heed: Heed) -> None:
        self._fd = fd
        self._outbox = outbox
        self._secrets = secrets
        self._heed = heed

    async def run(self) -> None:
        """Read to the end; while the outbox is full nothing is read and the job's writes block."""
        async with contextlib.aclosing(bounded_lines(self._fd, LINE_BYTES)) as pieces:
            async for line, size in pieces:
                if line is None:
                    self._outbox.add(dropped(size, "line_too_long"))
                elif line.strip():
                    self._take(await self._secrets.mask_in_turns(line))
                await self._outbox.room()

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
        self._heed(event)
