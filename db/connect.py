"""One psycopg connection for an administrator's command, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from db.dsn_display import read
from db.errors import DatabaseFull, DatabaseReadOnly, DatabaseRefused, DatabaseUnavailable
from db.primary_host import session_options


@contextmanager
def connected(dsn: str, **options: Any) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection. Raises DatabaseUnavailable, and DatabaseRefused for what the database does not allow."""
    read(dsn)
    try:
        connection = psycopg.connect(dsn, **session_options(dsn), **options)
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"cannot connect to the database: {_line(error)}", _next_step(error)) from error
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
    if "FATAL" in str(error):  # so says a server that was reached, and psycopg keeps no code of it
        return "the server answers: check user, password and database in the DSN"
    return "check that Postgres runs and that the DSN names it"


def _line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
