"""One psycopg connection for an administrator's command, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from db.errors import DatabaseReadOnly, DatabaseRefused, DatabaseUnavailable
from db.primary_host import session_options


@contextmanager
def connected(dsn: str, **options: Any) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection. Raises DatabaseUnavailable, and DatabaseRefused for what the database does not allow."""
    try:
        with psycopg.connect(dsn, **session_options(dsn), **options) as connection:
            yield connection
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise DatabaseReadOnly from error
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"cannot connect to the database: {_line(error)}") from error
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:  # it never got as far as a database
            step = "write it as postgresql://user@host/database"
            raise DatabaseUnavailable(f"the DSN cannot be read: {_line(error)}", step) from error
        raise DatabaseRefused(f"the database refused: {_line(error)}", "use a role that may do this") from error


def _line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
