"""Telling listeners what has become durable, in transactions of their own.

Postgres holds one lock over every commit that notifies, and through its flush to disk: commits that notify cannot
share a flush, so a hundred small ones take a hundred flushes. So the statements that run side by side most often and
that nobody waits for (claim, finish, settle) commit without a word and return their hints; they are put together here
and sent by a commit that flushes nothing. A replica that dies in between costs its readers one poll interval.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

import asyncpg

from db.queries import load

_log = logging.getLogger("ado.notifier")
_HINTS = 150  # of up to 45 bytes; a notification holds 8000


class Notifier:
    """Sends hints, one notification in flight; what comes meanwhile is the next one."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._pending: dict[str, None] = {}
        self._sending: asyncio.Task[None] | None = None

    def tell(self, hints: Iterable[str]) -> None:
        """Send hints soon; each text has one or more, divided by spaces."""
        self._pending.update((hint, None) for text in hints for hint in text.split(" "))
        if self._pending and self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="notifier")

    async def _send(self) -> None:
        try:
            while hints := list(self._pending)[:_HINTS]:
                for hint in hints:
                    del self._pending[hint]
                await self._pool.fetch(load()["notify"].numbered, " ".join(hints))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._pending.clear()  # readers poll
            _log.warning("hints were not sent", extra={"error": type(error).__name__})
        finally:
            self._sending = None

    async def close(self) -> None:
        """Send what is left, or give up after a second."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=1)
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        self._pool.terminate()
