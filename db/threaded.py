"""A small pool of psycopg connections, for code that is threaded: spawners, because cluster clients are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from db.errors import DatabaseUnavailable
from db.queries import load

Connection: TypeAlias = psycopg.Connection[dict[str, Any]]


class Pool:
    """Connections to one database, opened late."""

    def __init__(self, dsn: str, *, size: int = 2) -> None:
        self._pool = ConnectionPool(
            dsn,
            min_size=1,
            max_size=size,
            open=False,
            timeout=10,
            kwargs={"row_factory": dict_row, "application_name": "ado-spawner", "prepare_threshold": None},
            check=ConnectionPool.check_connection,
        )

    def open(self) -> None:
        """Connect, waiting up to ten seconds. Raises DatabaseUnavailable."""
        try:
            self._pool.open(wait=True, timeout=10)
        except PoolTimeout as error:
            raise DatabaseUnavailable(f"cannot connect to the database: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Hold a connection for one transaction. Raises DatabaseUnavailable."""
        try:
            with self._pool.connection() as connection:
                yield connection  # type: ignore[misc]
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise DatabaseUnavailable(f"the database did not answer: {type(error).__name__}") from error


def rows(connection: Connection, name: str, /, **values: Any) -> list[dict[str, Any]]:
    """Run a statement and return its rows."""
    query = load()[name]
    query.arguments(values)
    cursor = connection.execute(query.named.encode(), values)
    return cursor.fetchall() if cursor.description else []
