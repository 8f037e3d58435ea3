"""A pool of asyncpg connections that leaves a server which takes no more writes.

After a failover a connection may lead to the demoted server: its writes fail, its reads are old. Postgres reports a
change of ``in_hot_standby`` and ``default_transaction_read_only`` with the next answer. At the first such report or
error the pool replaces every connection and reads again, because a new connection may lead to the new primary. If it
does not (the only host is read-only), reads are served, and the pool tries again every second.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Self

import asyncpg

from db.dsn import session_options

_RENEW_SECONDS = 1.0
_CONFIRM_SECONDS = 2.0  # a server that answers confirms in milliseconds; a replica that ends waits for the last one


class Pool:
    """Connections to one database; every statement is a transaction of its own."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._renewed_at = float("-inf")
        self._renewals = 0

    @classmethod
    async def open(cls, dsn: str, *, least: int, most: int, **options: Any) -> Self:
        """Connect; ``options`` are those of a connection."""
        options = {**session_options(dsn), **options}
        return cls(await asyncpg.create_pool(dsn, min_size=least, max_size=most, reset=_no_reset, **options))

    async def fetch(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement and return its rows. Raises what asyncpg raises."""
        while True:
            renewals = self._renewals
            async with self._connection() as connection:
                try:
                    rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
                except asyncpg.ReadOnlySQLTransactionError:
                    await self._renew()
                    raise
                settings = connection.get_settings()
            outlived = self._renewals != renewals  # another statement renewed the pool while this one ran
            if not is_read_only(settings) or not (outlived or await self._renew()):
                return rows

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """Borrow a connection.

        A statement whose caller was cancelled is cancelled, and its connection is kept until the server has confirmed
        that. A server that was killed at this moment confirms nothing: then the pool cuts the connection.
        """
        connection = await self._pool.acquire()
        try:
            yield connection
        finally:
            with contextlib.suppress(TimeoutError):
                await self._pool.release(connection, timeout=_CONFIRM_SECONDS)

    async def _renew(self) -> bool:
        """Have every connection replaced at its next use; False if that was done less than a second ago."""
        if time.monotonic() - self._renewed_at < _RENEW_SECONDS:
            return False
        self._renewed_at = time.monotonic()
        self._renewals += 1
        await self._pool.expire_connections()
        return True

    async def close(self, timeout: float) -> None:
        """Close the connections; those still in use after ``timeout`` seconds are cut."""
        try:
            await asyncio.wait_for(self._pool.close(), timeout)
        except TimeoutError:
            self._pool.terminate()

    def terminate(self) -> None:
        """Cut the connections."""
        self._pool.terminate()


def is_read_only(settings: Any) -> bool:
    """Whether the server has reported that sessions cannot write; a pooler may hide such reports."""
    return "on" in (
        getattr(settings, "in_hot_standby", "off"),
        getattr(settings, "default_transaction_read_only", "off"),
    )


async def _no_reset(_: Any) -> None:
    """Reset a returned connection: there is nothing to do, because single statements leave nothing behind."""
