"""The replicas' pool of asyncpg connections, and how a named statement is run on it.

Every statement is one transaction and carries its own fence, so running it again after a deadlock is safe. A broken
connection raises DatabaseUnavailable: whether the statement took effect is then unknown, and its fence makes the
caller's repetition harmless.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

import asyncpg

from db.errors import DatabaseRefused, DatabaseUnavailable
from db.notifier import Notifier
from db.queries import load

_BROKEN = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that broke in the middle of its release
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
_DEADLOCK_TRIES = 5


class Database:
    """A pool of connections; ``many``, ``optional`` and ``one`` run a statement by its name."""

    def __init__(self, pool: asyncpg.Pool, notifier: Notifier) -> None:
        self._pool = pool
        self._notifier = notifier
        self.answered_at = time.monotonic()
        """When a statement last got its answer, by the local clock."""

    @classmethod
    async def open(cls, dsn: str, *, size: int, pooled: bool = False, timeout: float = 30.0) -> Self:
        """Connect; ``size`` connections at most, ``timeout`` seconds a statement. Raises DatabaseUnavailable.

        ``pooled``: the DSN leads through a pooler whose connections change hands after every transaction, so that no
        statement stays prepared; each then costs a second round trip.
        """
        common: dict[str, Any] = {
            "command_timeout": timeout,
            "timeout": 10,
            "statement_cache_size": 0 if pooled else 500,
            "reset": _nothing,
            "server_settings": {"application_name": "ado-api"},
        }
        try:
            pool = await asyncpg.create_pool(dsn, min_size=1, max_size=size, **common)
            notifying = await asyncpg.create_pool(dsn, min_size=0, max_size=1, **common)
        except _BROKEN as error:
            raise DatabaseUnavailable(f"cannot connect to the database: {error}") from error
        return cls(pool, Notifier(notifying))

    async def close(self, timeout: float = 5.0) -> None:
        """Close the connections; those still in use after ``timeout`` seconds are cut."""
        await self._notifier.close()
        try:
            await asyncio.wait_for(self._pool.close(), timeout)
        except TimeoutError:
            self._pool.terminate()

    def tell(self, hint: str) -> None:
        """Send a hint that belongs to no statement."""
        self._notifier.tell([hint])

    async def many(self, name: str, /, **values: Any) -> list[asyncpg.Record]:
        """Run a statement and return its rows."""
        query = load()[name]
        arguments = query.arguments(values)
        for attempt in range(1, _DEADLOCK_TRIES + 1):
            try:
                rows: list[asyncpg.Record] = await self._pool.fetch(query.numbered, *arguments)
            except asyncpg.DeadlockDetectedError:
                if attempt == _DEADLOCK_TRIES:
                    raise
                await asyncio.sleep(0.01 * attempt)
            except asyncpg.DataError as error:
                raise DatabaseRefused("a value cannot be stored: NUL in a text, or a number out of range") from error
            except _BROKEN as error:
                raise DatabaseUnavailable(f"the database did not answer: {type(error).__name__}") from error
            else:
                self.answered_at = time.monotonic()
                if query.hints:
                    self._notifier.tell(hint for row in rows for hint in row["hints"] or ())
                return rows
        raise AssertionError("unreachable")

    async def optional(self, name: str, /, **values: Any) -> asyncpg.Record | None:
        """Run a statement that gives one row or none."""
        rows = await self.many(name, **values)
        return rows[0] if rows else None

    async def one(self, name: str, /, **values: Any) -> asyncpg.Record:
        """Run a statement that always gives one row."""
        return (await self.many(name, **values))[0]


async def _nothing(_: Any) -> None:
    """Reset a connection that comes back to the pool: single statements leave nothing behind."""
