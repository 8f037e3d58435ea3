"""Reads a log for one viewer: page by page from its cursor, then waiting for more.

Reading ends where the log ends: at the terminal event that is the last event of an ended task. A retried task has
events after an earlier terminal event, and reading goes on. Otherwise only the caller ends a reading: while the
database is away, it waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from app.log.encode import Entry, encode_all
from app.log.feed import Feed, Feeds
from app.rpc.backoff import Backoff
from db import events
from db.database import Database
from db.errors import DatabaseUnavailable, LogPruned, LogRewound

_log = logging.getLogger("ado.tail")
_FIRST_PAUSE_SECONDS = 0.1
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Selection:
    """The events that a viewer wants."""

    output: bool = True
    other: bool = True
    """Whether events that are no output are wanted."""
    job: int | None = None
    """Only events of this job, and of the task itself."""
    stream: str | None = None
    """Only this stream of the output."""

    def wants(self, entry: Entry) -> bool:
        """Whether an event is wanted; events of the task itself belong to every job."""
        if not (self.output if entry.type == "output" else self.other):
            return False
        if entry.type == "output" and self.stream not in (None, entry.stream):
            return False
        return self.job is None or entry.job is None or entry.job == self.job

    @property
    def wanted(self) -> events.EventFilter:
        """The selection as the database takes it."""
        streams = ("stdout", "stderr") if self.stream is None else (self.stream,)
        return events.EventFilter(self.job, streams if self.output else (), self.other)

    @property
    def narrow(self) -> bool:
        """Whether a long log may have few wanted events, so that they are looked up by an index."""
        return self.job is not None or not self.output or self.stream == "stderr"


class Tail:
    """Reads logs from a cursor."""

    def __init__(self, db: Database, feeds: Feeds, *, retry_seconds: float) -> None:
        self._db = db
        self._feeds = feeds
        self._retry_seconds = retry_seconds

    async def read(
        self, task_id: int, cursor: int, state: events.LogState, *, follow: bool, selection: Selection
    ) -> AsyncIterator[Entry]:
        """Yield the wanted events after ``cursor`` to the log's end; without ``follow``, to its end as in ``state``."""
        end = state.last_seq if state.ended or not follow else None
        async with self._feeds.watching(task_id, state.last_seq) as feed:
            rewinds = feed.rewinds
            while end is None or cursor < end:
                entries, cursor = await self._next(feed, cursor, rewinds, selection)
                for entry in entries:
                    if not follow and entry.seq > state.last_seq:
                        return
                    if selection.wants(entry):
                        yield entry
                    if follow and entry.terminal:
                        end = await self._end(task_id)

    async def _end(self, task_id: int) -> int | None:
        """Return the seq of the last event of an ended task; None while the task goes on."""
        state = await self.when_available(lambda: events.state(self._db, task_id))
        if state is None:  # the task was removed
            return 0
        return state.last_seq if state.ended else None

    async def _next(self, feed: Feed, cursor: int, rewinds: int, selection: Selection) -> tuple[list[Entry], int]:
        """Wait for events after the cursor; return them, and the cursor up to which the log was then read."""
        await feed.changed(cursor, rewinds)
        entries = feed.after(cursor)
        if entries is not None:
            return entries, entries[-1].seq
        if selection.narrow:
            return await self._next_selected(feed.task_id, cursor, selection.wanted)
        page = await self.when_available(lambda: self._feeds.page(feed.task_id, cursor))
        if page.last_seq < cursor:
            raise LogRewound(feed.task_id, cursor, page.last_seq)
        if not page.events:
            raise _pruned(feed.task_id, cursor)
        return encode_all(page.events), page.events[-1].seq

    async def _next_selected(self, task_id: int, cursor: int, wanted: events.EventFilter) -> tuple[list[Entry], int]:
        page = await self.when_available(lambda: self._feeds.selected_page(task_id, cursor, wanted))
        if page.last_seq < cursor:
            raise LogRewound(task_id, cursor, page.last_seq)
        if not page.kept:
            raise _pruned(task_id, cursor)
        return encode_all(page.events), page.through

    async def when_available(self, read: Callable[[], Awaitable[R]]) -> R:
        """Return what ``read`` returns, and call it again for as long as the database is away."""
        backoff = Backoff(_FIRST_PAUSE_SECONDS, self._retry_seconds)
        while True:
            try:
                return await read()
            except DatabaseUnavailable as error:
                _log.warning("reader waits for the database", extra={"detail": str(error)})
                await asyncio.sleep(backoff.next())


def _pruned(task_id: int, cursor: int) -> LogPruned:
    return LogPruned(f"the events of task-{task_id} after {cursor} have been dropped")
