"""What a support bundle says of the database: version, schema, sizes, who blocks it, and why jobs wait."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from db.connect import connected
from db.queries import load

_SECONDS = 10


def facts(dsn: str) -> dict[str, Any]:
    """Read what can be had within seconds each; what cannot says why. Raises DatabaseError where nothing can."""
    with connected(dsn, row_factory=dict_row, autocommit=True, connect_timeout=_SECONDS) as connection:
        connection.execute(f"set statement_timeout = '{_SECONDS}s'".encode())
        found: dict[str, Any] = {"serverVersion": connection.info.server_version}
        for name in ("schema_version", "is_read_only", "lock_blockers", "table_sizes", "database_size", "waiting_jobs"):
            found[name] = _rows(connection, name)
        return found


def _rows(connection: psycopg.Connection[Any], name: str) -> Any:
    try:
        return connection.execute(load()[name].named.encode()).fetchall()
    except psycopg.Error as error:
        return f"cannot be read: {type(error).__name__}"
