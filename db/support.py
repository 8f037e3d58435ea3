"""What a support bundle says of the database: version, schema, sizes, blocking sessions, and why jobs wait."""

from __future__ import annotations

from typing import Any

import psycopg

from db.connect import SyncConnection, connected, run

_SECONDS = 10
_STATEMENTS = ("schema_version", "is_read_only", "lock_blockers", "table_sizes", "database_size", "waiting_jobs")


def facts(dsn: str) -> dict[str, Any]:
    """Run each statement for some seconds at most; one that fails gives its error. Raises DatabaseError."""
    with connected(dsn, autocommit=True, connect_timeout=_SECONDS) as connection:
        connection.execute(f"set statement_timeout = '{_SECONDS}s'".encode())
        answers = {name: _answer(connection, name) for name in _STATEMENTS}
        return {"serverVersion": connection.info.server_version, **answers}


def _answer(connection: SyncConnection, name: str) -> Any:
    try:
        return run(connection, name)
    except psycopg.Error as error:
        return f"cannot be read: {type(error).__name__}"
