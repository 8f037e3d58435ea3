"""The newest events of a task, kept once per replica for all its viewers.

A feed exists while somebody watches its task on this replica. Only the feed's poller queries the database for new
events, when a hint comes or a poll interval has passed. It keeps the newest events, encoded, up to a number of bytes:
the window. A viewer whose cursor is within the window is served from memory. A viewer further behind reads pages of
the log itself, so it costs no memory and loses nothing.

Events arrive without a gap: a page starts right after the last known event. If the database has lost that event (its
log is shorter, or has another event in its place), the feed starts again at the log's end, and every viewer gets
LogRewound.

Small events arrive with the notification of their hint. If they follow the last known event, no page is read for them.
Only the poller adds them, so they cannot overtake a page. After a gap in the notifications it reads a page first: the
server may be another one, whose log has lost events.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from app.log.encode import Entry, encode_all
from app.log.hub import Hub, Wakeup
from app.log.live import LiveEvents, task_of, unpack
from db import events
from db.database import Database
from db.errors import DatabaseUnavailable, LogRewound

_log = logging.getLogger("ado.feed")
_PAGE_ROWS = 500
_PIECE_BYTES = 256 * 1024  # a viewer that stops reading keeps this much memory in use
_LIVE_BATCHES = 64  # that may wait for the poller; each is at most 8 KB


class Feed:
    """The newest events of one task."""

    def __init__(self, task_id: int, last_seq: int, byte_limit: int) -> None:
        self.task_id = task_id
        self.last_seq = last_seq
        self.viewers = 0
        self.rewinds = 0
        """How often the log had lost events that were read before."""
        self._last_at: datetime | None = None
        self._byte_limit = byte_limit
        self._window: list[Entry] = []
        self._bytes = 0
        self._changed = asyncio.Event()
        self._live: list[LiveEvents] = []

    def fits(self, page: events.EventPage) -> bool:
        """Whether a page that was read after the last event continues the log as it was read so far."""
        if page.last_seq < self.last_seq:
            return False
        same = self._last_at is None or page.cursor_at is None or self._last_at == page.cursor_at
        self._last_at = page.cursor_at if not page.events else page.events[-1].stored_at
        return same

    def rewind(self, last_seq: int) -> None:
        """Start again at the log's end and wake every viewer, which then gets LogRewound."""
        self.last_seq = last_seq
        self.rewinds += 1
        self._last_at = None
        self._window, self._bytes = [], 0
        self.drop_live()  # they may be of the log as it was
        self._wake()

    def add(self, entries: list[Entry]) -> None:
        """Append the events that follow the last one, and wake the viewers."""
        if not entries:
            return
        if entries[0].seq != self.last_seq + 1:
            raise AssertionError(f"gap in the log of task {self.task_id} after {self.last_seq}")
        self._window += entries
        self._bytes += sum(len(entry.text) for entry in entries)
        self.last_seq = entries[-1].seq
        dropped = 0
        while self._bytes > self._byte_limit:
            self._bytes -= len(self._window[dropped].text)
            dropped += 1
        del self._window[:dropped]
        self._wake()

    def receive(self, live: LiveEvents) -> None:
        """Keep events that came with a notification, until the poller adds them."""
        if len(self._live) < _LIVE_BATCHES:
            self._live.append(live)

    def drop_live(self) -> None:
        """Leave the events that came with notifications to the next page."""
        self._live.clear()

    def add_live(self) -> set[float]:
        """Append the events that came with notifications, and return the number of the last event of each.

        Those that a page has brought already are compared with it. What neither follows nor equals the known events
        is left to the next page, and so is all that came after it: the log may have been rewound.
        """
        added: set[float] = set()
        for live in self._live:
            first, last = live.entries[0].seq, live.entries[-1].seq
            if first == self.last_seq + 1:
                self._last_at = live.stored_at
                self.add(live.entries)
            elif live.entries != (self.after(first - 1) or [])[: len(live.entries)]:
                break
            added.add(last)
        self._live.clear()
        return added

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def after(self, cursor: int) -> list[Entry] | None:
        """Return the next events after a cursor; None when they are no longer in the window."""
        start = cursor - self.last_seq + len(self._window)
        if start < 0:
            return None
        end, size = start, 0
        while end < len(self._window) and size < _PIECE_BYTES:
            size += len(self._window[end].text)
            end += 1
        return self._window[start:end]

    async def changed(self, cursor: int, rewinds: int) -> None:
        """Wait for an event after a cursor. Raises LogRewound when the log was rewound more often than ``rewinds``."""
        while cursor >= self.last_seq and self.rewinds == rewinds:
            await self._changed.wait()
        if self.rewinds != rewinds:
            raise LogRewound(self.task_id, cursor, self.last_seq)


class Feeds:
    """The feeds of a replica, each with its poller."""

    def __init__(self, db: Database, hub: Hub, *, poll_seconds: float, feed_bytes: int, page_bytes: int) -> None:
        self._db = db
        self._hub = hub
        self._poll_seconds = poll_seconds
        self._feed_bytes = feed_bytes
        self._page_bytes = page_bytes
        self._feeds: dict[int, Feed] = {}
        self._pollers: dict[int, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def watching(self, task_id: int, last_seq: int) -> AsyncIterator[Feed]:
        """Give the task's feed for as long as the block runs; a new feed starts after ``last_seq``."""
        feed = self._feeds.get(task_id)
        if feed is None:
            feed = self._feeds[task_id] = Feed(task_id, last_seq, self._feed_bytes)
            self._pollers[task_id] = asyncio.create_task(self._poll(feed), name=f"feed task-{task_id}")
        feed.viewers += 1
        try:
            yield feed
        finally:
            feed.viewers -= 1
            if feed.viewers == 0:
                del self._feeds[task_id]
                self._pollers.pop(task_id).cancel()

    async def page(self, task_id: int, cursor: int) -> events.EventPage:
        """Read a page of the log."""
        return await events.page(self._db, task_id, cursor, row_limit=_PAGE_ROWS, byte_limit=self._page_bytes)

    async def selected_page(self, task_id: int, cursor: int, wanted: events.EventFilter) -> events.SelectedPage:
        """Read a page of the log's wanted events."""
        return await events.selected_page(
            self._db, task_id, cursor, wanted, row_limit=_PAGE_ROWS, byte_limit=self._page_bytes
        )

    async def _poll(self, feed: Feed) -> None:
        with self._hub.waiting(("e", feed.task_id)) as hint:
            while True:
                caught_up = False
                hint.seqs.clear()
                feed.drop_live()
                try:
                    await self._catch_up(feed)
                    caught_up = True
                except DatabaseUnavailable as error:
                    detail = {"task": f"task-{feed.task_id}", "detail": str(error)}
                    _log.warning("feed waits for the database", extra=detail)
                except Exception:  # noqa: BLE001 - a poller that ended here would leave its viewers waiting for ever
                    _log.exception("feed failed", extra={"task": f"task-{feed.task_id}"})
                await self._wait(feed, hint, caught_up=caught_up)

    async def _wait(self, feed: Feed, hint: Wakeup, *, caught_up: bool) -> None:
        """Wait until a page must be read: a hint names an event that did not come with it, or the interval is over.

        Events that came with notifications are used only if the last page could be read (``caught_up``).
        """
        due = time.monotonic() + self._poll_seconds
        while (left := due - time.monotonic()) > 0 and await hint.wait(left):
            if not caught_up or math.inf in hint.seqs or not hint.seqs <= feed.add_live():
                return
            hint.seqs.clear()

    def receive(self, payload: str) -> None:
        """Hand the events of a notification to the feed of their task."""
        feed = self._feeds.get(task_of(payload))
        if feed is not None:
            feed.receive(unpack(payload))

    async def _catch_up(self, feed: Feed) -> None:
        """Read pages until the feed has the log's last event."""
        more = True
        while more:
            page = await self.page(feed.task_id, feed.last_seq)
            if not feed.fits(page):
                _log.error("log rewound", extra={"task": f"task-{feed.task_id}", "seq": page.last_seq})
                feed.rewind(page.last_seq)
                return
            feed.add(encode_all(page.events))
            more = page.more

    async def close(self) -> None:
        """Stop every poller."""
        pollers = list(self._pollers.values())
        for poller in pollers:
            poller.cancel()
        await asyncio.gather(*pollers, return_exceptions=True)
