"""The replicas' pool of asyncpg connections, and how a named statement is run on it.

Every statement is one transaction and carries its own fence, so running it again after a deadlock is safe. A broken
connection raises DatabaseUnavailable: whether the statement took effect is then unknown, and its fence makes the
caller's repetition harmless.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any, Self

import asyncpg

from db.dsn import session_options
from db.errors import DatabaseFull, DatabaseReadOnly, DatabaseRefused, DatabaseUnavailable
from db.notifier import Notifier
from db.pool import Pool
from db.queries import load

_log = logging.getLogger("ado.api")
_BROKEN = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection broke during its release
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,  # the server's disk cannot be read or written
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # the server accepts no connections
)
_REMEMBER_SECONDS = 15.0  # workers retry every few seconds, so a disk that stays full is noticed again in time
_DEADLOCK_TRIES = 5


class Database:
    """A pool of connections; ``many``, ``optional`` and ``one`` run a statement by its name."""

    def __init__(self, pool: Pool, notifier: Notifier) -> None:
        self._pool = pool
        self._notifier = notifier
        self.answered_at = time.monotonic()
        """When a statement last got its answer, by the local clock."""
        self._full_at = float("-inf")

    @classmethod
    async def open(cls, dsn: str, *, size: int, pooled: bool = False, timeout: float = 30.0) -> Self:
        """Connect; ``size`` connections at most, ``timeout`` seconds a statement. Raises DatabaseUnavailable.

        ``pooled``: the DSN leads to a pooler that gives a connection to another client after every transaction. Then no
        statement stays prepared, and each costs a second round trip. ``open`` also recognises a pooler by itself.

        Postgres, too, ends a statement after ``timeout`` seconds, because a stopped replica cancels nothing. Behind a
        pooler the role must set this, because a client's settings do not stay with its connection.
        """
        server = await _probe(dsn)
        pooled = pooled or server.pooled
        if pooled and server.statement_timeout == "0":
            _log.warning("no statement timeout: behind a pooler it is set by alter role NAME set statement_timeout")
        limits = {} if pooled else {"statement_timeout": str(round(timeout * 1000))}
        common: dict[str, Any] = {
            "command_timeout": timeout,
            "timeout": 10,
            "statement_cache_size": 0 if pooled else 500,
            "server_settings": {"application_name": "ado-api", **limits},
        }
        try:
            pool = await Pool.open(dsn, least=1, most=size, **common)
            notifying = await Pool.open(dsn, least=0, most=1, **common)
        except _BROKEN as error:
            raise DatabaseUnavailable(f"cannot connect to the database: {error}") from error
        return cls(pool, Notifier(notifying))

    async def close(self, timeout: float = 5.0) -> None:
        """Close the connections; those still in use after ``timeout`` seconds are cut."""
        await self._notifier.close()
        await self._pool.close(timeout)

    def notify(self, hint: str) -> None:
        """Send a hint that belongs to no statement."""
        self._notifier.notify([hint])

    async def many(self, name: str, /, **values: Any) -> list[asyncpg.Record]:
        """Run a statement and return its rows."""
        query = load()[name]
        arguments = query.arguments(values)
        for attempt in range(1, _DEADLOCK_TRIES + 1):
            try:
                rows = await self._pool.fetch(query.numbered, *arguments)
            except asyncpg.TransactionRollbackError:  # a deadlock, or a conflict with the recovery of a standby
                if attempt == _DEADLOCK_TRIES:
                    raise
                await asyncio.sleep(0.01 * attempt)
            except asyncpg.DataError as error:
                raise DatabaseRefused("a value cannot be stored: NUL in a text, or a number out of range") from error
            except _BROKEN as error:
                raise self._unavailable(error) from error
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # nobody has cancelled the caller: the driver has, because its connection broke during the release
                raise self._unavailable(ConnectionAbortedError("the driver gave up")) from error
            else:
                self.answered_at = time.monotonic()
                if query.hints:
                    self._notifier.notify(hint for row in rows for hint in row["hints"] or ())
                return rows
        raise AssertionError("unreachable")

    async def announced(self, name: str, /, *, alone: bool = True, **values: Any) -> list[asyncpg.Record]:
        """Run a statement that may notify within its commit: if the change is ``alone`` and the queue is not full."""
        if alone and not self._notifier.resting:
            try:
                return await self.many(name, announce=True, **values)
            except asyncpg.ProgramLimitExceededError as error:
                self._notifier.rest(error)
        return await self.many(name, announce=False, **values)

    def _unavailable(self, error: Exception) -> DatabaseUnavailable:
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            return DatabaseReadOnly()
        if not isinstance(error, asyncpg.DiskFullError):
            return DatabaseUnavailable(f"the database did not answer: {type(error).__name__}: {error}".rstrip(": "))
        self._full_at = time.monotonic()
        return DatabaseFull()

    def was_full(self) -> bool:
        """Whether the disk was full less than ``_REMEMBER_SECONDS`` ago; small writes may succeed meanwhile."""
        return time.monotonic() - self._full_at < _REMEMBER_SECONDS

    async def optional(self, name: str, /, **values: Any) -> asyncpg.Record | None:
        """Run a statement that gives one row or none."""
        rows = await self.many(name, **values)
        return rows[0] if rows else None

    async def one(self, name: str, /, **values: Any) -> asyncpg.Record:
        """Run a statement that always gives one row."""
        return (await self.many(name, **values))[0]


@dataclass(frozen=True, slots=True)
class _ServerFacts:
    """What the first connection shows of the server."""

    pooled: bool
    """Whether the backend has another process id than the server announced: a pooler is in between."""
    statement_timeout: str
    """The role's setting; ``0`` is none."""


async def _probe(dsn: str) -> _ServerFacts:
    try:
        options = {**session_options(dsn), "timeout": 10, "command_timeout": 10, "statement_cache_size": 0}
        connection = await asyncpg.connect(dsn, **options)
        try:
            row = await connection.fetchrow("select pg_backend_pid(), current_setting('statement_timeout')")
            return _ServerFacts(row[0] != connection.get_server_pid(), row[1])
        finally:
            connection.terminate()
    except _BROKEN as error:
        raise DatabaseUnavailable(f"cannot connect to the database: {error}") from error
