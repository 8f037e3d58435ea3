"""Sends hints in transactions of their own, after the change is durable.

A commit that notifies fails when Postgres' queue of notifications is full, and the change would fail with it. It also
holds a lock of the whole server through its flush to disk, so a hundred small commits would take a hundred flushes.
Therefore no statement that changes data notifies. It returns its hints; this module joins them and sends them with a
commit that is not flushed. If a replica dies in between, or the queue is full, readers wait one poll interval longer.

Small events go with the hint that announces them, on a channel of their own (``ado.live_channel``). They spare the
readers a look at the log; the log stays the authority.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import asyncpg

from db.hints import HintFailures, merge, payloads
from db.pool import Pool
from db.queries import load

_PAUSE_SECONDS = 1.0  # between two tries while the queue is full; readers poll as often
_LIVE_PAYLOADS = 32  # that wait for one notification to end; the events of later ones are read from the log


class Notifier:
    """Sends hints, one notification at a time; hints that arrive meanwhile go with the next one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._pending: dict[str, str] = {}
        self._live: list[str] = []
        self._sending: asyncio.Task[None] | None = None
        self._quiet_until = float("-inf")
        self._failures = HintFailures()

    def notify(self, hints: Iterable[str]) -> None:
        """Send hints soon; while the queue is full they are dropped."""
        if time.monotonic() < self._quiet_until:
            return
        merge(self._pending, hints)
        if self._pending and self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="notifier")

    def notify_live(self, payload: str) -> None:
        """Send events with the hints that wait, if there are any; the caller has just called ``notify``."""
        if self._pending and len(self._live) < _LIVE_PAYLOADS:
            self._live.append(payload)

    async def _send(self) -> None:
        try:
            while self._pending:
                hints, live = list(self._pending.values()), self._live
                self._pending.clear()
                self._live = []
                for payload in payloads(hints):
                    await self._pool.fetch(load()["notify"].numbered, live, payload)
                    live = []
        except (
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as error:
            full = isinstance(error, asyncpg.ProgramLimitExceededError)
            if full:
                self._quiet_until = time.monotonic() + _PAUSE_SECONDS
            self._pending.clear()
            self._live.clear()
            self._failures.log(error, full=full)
        finally:
            self._sending = None

    async def close(self) -> None:
        """Send the remaining hints, or give up after a second."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=1)
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        self._pool.terminate()
