"""Synchronous psycopg connections, and the one way to run a named statement on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row

from db.dsn import read, session_options
from db.errors import DatabaseFull, DatabaseReadOnly, DatabaseRefused, DatabaseUnavailable
from db.hints import merge
from db.queries import load

Row = dict[str, Any]


class SyncConnection(psycopg.Connection[Row]):
    """A connection whose rows are dicts. It collects the hints of its statements; the pool sends them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.hints: dict[str, str] = {}

    @classmethod
    def open(cls, dsn: str, **options: Any) -> Self:
        """Connect. Raises DatabaseUnavailable."""
        read(dsn)
        try:
            return cls.connect(dsn, row_factory=dict_row, **session_options(dsn), **options)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(f"cannot connect to the database: {_line(error)}", _next_step(error)) from error


def run(connection: SyncConnection, name: str, /, **values: Any) -> list[Row]:
    """Run a statement by its name and return its rows."""
    query = load()[name]
    query.arguments(values)
    cursor = connection.execute(query.named.encode(), values)
    rows = cursor.fetchall() if cursor.description else []
    if query.hints:
        merge(connection.hints, (hint for row in rows for hint in row["hints"] or ()))
    return rows


@contextmanager
def connected(dsn: str, **options: Any) -> Iterator[SyncConnection]:
    """Yield a connection for an administrator's command. Raises DatabaseUnavailable and DatabaseRefused."""
    connection = SyncConnection.open(dsn, **options)
    try:
        with connection:
            yield connection
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise DatabaseReadOnly from error
    except psycopg.errors.DiskFull as error:
        raise DatabaseFull from error
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"the database did not answer: {_line(error)}") from error
    except psycopg.ProgrammingError as error:
        raise DatabaseRefused(f"the database refused: {_line(error)}", "use a role that may do this") from error


def _next_step(error: psycopg.Error) -> str:
    if "FATAL" in str(error):  # only a server says FATAL, so it was reached; psycopg keeps no code of this error
        return "the server answers: check user, password and database in the DSN"
    return "check that Postgres runs and that the DSN names it"


def _line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
