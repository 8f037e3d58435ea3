"""Sends hints in transactions of their own, after the change is durable.

A commit that notifies fails when Postgres' queue of notifications is full, and the change would fail with it. It also
holds a lock of the whole server through its flush to disk, so a hundred small commits would take a hundred flushes.
Therefore a statement that changes data returns its hints; this module joins them and sends them with a commit that is
not flushed. If a replica dies in between, or the queue is full, readers wait one poll interval longer.

A change that is alone in its commit may notify within it (``ado.announce``), one transaction at a time. If its
commit fails because the queue is full, it is stored again without that (``Database.announced``).
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


class Notifier:
    """Sends hints, one notification at a time; hints that arrive meanwhile go with the next one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._pending: dict[str, str] = {}
        self._sending: asyncio.Task[None] | None = None
        self._quiet_until = float("-inf")
        self._failures = HintFailures()

    @property
    def resting(self) -> bool:
        """Whether the queue was full less than a second ago."""
        return time.monotonic() < self._quiet_until

    def rest(self, error: asyncpg.ProgramLimitExceededError) -> None:
        """Send nothing for a second, because the queue is full."""
        self._quiet_until = time.monotonic() + _PAUSE_SECONDS
        self._failures.log(error, full=True)

    def notify(self, hints: Iterable[str]) -> None:
        """Send hints soon; while the queue is full they are dropped."""
        if self.resting:
            return
        merge(self._pending, hints)
        if self._pending and self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="notifier")

    async def _send(self) -> None:
        try:
            while self._pending:
                hints = list(self._pending.values())
                self._pending.clear()
                for payload in payloads(hints):
                    await self._pool.fetch(load()["notify"].numbered, payload)
        except asyncpg.ProgramLimitExceededError as error:
            self._pending.clear()
            self.rest(error)
        except (
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as error:
            self._pending.clear()
            self._failures.log(error, full=False)
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
