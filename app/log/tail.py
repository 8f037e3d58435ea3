"""One viewer's reading of a log: page by page from its cursor, then waiting for more.

The end is where the log ends: a terminal event that is the last event of a task that has ended. A task that was
retried has events after an earlier terminal event, and reading goes on. Nothing else ends a reading but the caller:
while the database is away the reader waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from app.log.encode import Entry, encode_all
from app.log.feed import Feed, Feeds
from db import events
from db.database import Database
from db.errors import DatabaseUnavailable, LogPruned, LogRewound

_log = logging.getLogger("ado.tail")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events a viewer wants; of the output one stream, or both."""

    output: bool = True
    other: bool = True
    job: int | None = None
    stream: str | None = None

    def wants(self, entry: Entry) -> bool:
        """Whether an event is among them; events of the task itself belong to every job."""
        if not (self.output if entry.type == "output" else self.other):
            return False
        if entry.type == "output" and self.stream not in (None, entry.stream):
            return False
        return self.job is None or entry.job is None or entry.job == self.job

    @property
    def wanted(self) -> events.EventFilter:
        """How the log is asked for them."""
        streams = ("stdout", "stderr") if self.stream is None else (self.stream,)
        return events.EventFilter(self.job, streams if self.output else (), self.other)

    @property
    def narrow(self) -> bool:
        """Whether the log may be long and yet have few of them; else it is read from end to end."""
        return self.job is not None or not self.output or self.stream == "stderr"


class Tail:
    """Reads one task's log from a cursor."""

    def __init__(self, db: Database, feeds: Feeds, *, retry_seconds: float) -> None:
        self._db = db
        self._feeds = feeds
        self._retry_seconds = retry_seconds

    async def read(
        self, task_id: int, cursor: int, state: events.LogState, *, follow: bool, selection: Selection
    ) -> AsyncIterator[Entry]:
        """Yield the wanted events after ``cursor``, to the log's end or, without ``follow``, to what is there now."""
        stop_at = None if follow else state.last_seq
        async with self._feeds.watching(task_id, state.last_seq) as feed:
            rewinds = feed.rewinds
            while not self._done(cursor, state, stop_at):
                entries, through = await self._next(feed, cursor, rewinds, selection)
                for entry in entries:
                    cursor = entry.seq
                    if selection.wants(entry):
                        yield entry
                    if entry.terminal:
                        state = await self._state(task_id)
                    if stop_at is not None and cursor >= stop_at:
                        return
                cursor = through

    @staticmethod
    def _done(cursor: int, state: events.LogState, stop_at: int | None) -> bool:
        if stop_at is not None:
            return cursor >= stop_at
        return state.ended and cursor >= state.last_seq

    async def _next(self, feed: Feed, cursor: int, rewinds: int, selection: Selection) -> tuple[list[Entry], int]:
        """Return what comes next, and the cursor behind it."""
        await feed.changed(cursor, rewinds)
        entries = feed.after(cursor)
        if entries is not None:
            return entries, entries[-1].seq
        if selection.narrow:
            return await self._next_selected(feed.task_id, cursor, selection.wanted)
        page = await self.patiently(lambda: self._feeds.page(feed.task_id, cursor))
        if page.last_seq < cursor:
            raise LogRewound(feed.task_id, cursor, page.last_seq)
        if not page.events:
            raise _pruned(feed.task_id, cursor)
        return encode_all(page.events), page.events[-1].seq

    async def _next_selected(self, task_id: int, cursor: int, wanted: events.EventFilter) -> tuple[list[Entry], int]:
        page = await self.patiently(lambda: self._feeds.selected_page(task_id, cursor, wanted))
        if page.last_seq < cursor:
            raise LogRewound(task_id, cursor, page.last_seq)
        if not page.kept:
            raise _pruned(task_id, cursor)
        return encode_all(page.events), page.through

    async def _state(self, task_id: int) -> events.LogState:
        state = await self.patiently(lambda: events.state(self._db, task_id))
        return state or events.LogState(0, ended=True, pruned=True)

    async def patiently(self, read: Callable[[], Awaitable[R]]) -> R:
        """Read, waiting for as long as the database is away."""
        while True:
            try:
                return await read()
            except DatabaseUnavailable as error:
                _log.warning("reader waits for the database", extra={"detail": str(error)})
                await asyncio.sleep(self._retry_seconds)


def _pruned(task_id: int, cursor: int) -> LogPruned:
    return LogPruned(f"the events of task-{task_id} after {cursor} have been dropped")
