"""A small pool of psycopg connections for threaded code: spawners, because cluster clients are synchronous.

The hints of a transaction are sent after its commit; ``db.notifier`` says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from db.connect import Row, SyncConnection, run
from db.dsn import read, session_options
from db.errors import DatabaseFull, DatabaseReadOnly, DatabaseUnavailable
from db.hints import HintFailures, payloads
from db.queries import load


class SyncPool:
    """Connections to one database; ``open`` connects them."""

    def __init__(self, dsn: str, *, size: int = 2) -> None:
        self._dsn = dsn
        self._failures = HintFailures()
        self._pool = ConnectionPool(
            dsn,
            connection_class=SyncConnection,
            min_size=1,
            max_size=size,
            open=False,
            timeout=10,
            kwargs={
                "row_factory": dict_row,
                "application_name": "ado-spawner",
                "prepare_threshold": None,
                **session_options(dsn),
            },
            check=ConnectionPool.check_connection,
        )

    def open(self) -> None:
        """Connect, waiting up to ten seconds. Raises DatabaseUnavailable, at once for a DSN that cannot be read."""
        read(self._dsn)
        try:
            self._pool.open(wait=True, timeout=10)
        except PoolTimeout as error:
            raise DatabaseUnavailable(f"cannot connect to the database: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def run(self, name: str, /, **values: Any) -> list[Row]:
        """Run one statement in a transaction of its own and return its rows. Raises DatabaseUnavailable."""
        with self.transaction() as connection:
            return run(connection, name, **values)

    @contextmanager
    def transaction(self) -> Iterator[SyncConnection]:
        """Hold a connection for one transaction. Raises DatabaseUnavailable."""
        try:
            with self._pool.connection() as connection:
                connection.hints.clear()
                try:
                    with connection.transaction():
                        yield connection
                    self._send_hints(connection)
                finally:
                    if _is_read_only(connection):
                        connection.close()  # the pool opens another one, which may lead to the new primary
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise DatabaseReadOnly from error
        except psycopg.errors.DiskFull as error:
            raise DatabaseFull from error
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise DatabaseUnavailable(f"the database did not answer: {type(error).__name__}") from error

    def _send_hints(self, connection: SyncConnection) -> None:
        try:
            for payload in payloads(connection.hints.values()):
                with connection.transaction():
                    connection.execute(load()["notify"].named.encode(), {"hints": payload, "live": []})
        except psycopg.Error as error:
            self._failures.log(error, full=isinstance(error, psycopg.errors.ProgramLimitExceeded))


def _is_read_only(connection: SyncConnection) -> bool:
    """Whether the server has reported that sessions on it cannot write."""
    names = (b"in_hot_standby", b"default_transaction_read_only")
    return any(connection.pgconn.parameter_status(name) == b"on" for name in names)
