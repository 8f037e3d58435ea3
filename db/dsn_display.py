"""How a database is named to a person."""

from __future__ import annotations

from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from db.errors import DatabaseUnavailable

_SECRET = frozenset({"password", "sslpassword"})


def read(dsn: str) -> dict[str, Any]:
    """Return the parts of a DSN. Raises DatabaseUnavailable for what is none."""
    try:
        return conninfo_to_dict(dsn)
    except ProgrammingError as error:
        step = "write it as postgresql://user@host/database"
        raise DatabaseUnavailable(f"the DSN cannot be read: {' '.join(str(error).split())}", step) from error


def without_password(dsn: str) -> str:
    """Return a DSN as it may be shown; as it is where it holds no password. Raises DatabaseUnavailable."""
    parts = read(dsn)
    if _SECRET.isdisjoint(parts):
        return dsn
    return make_conninfo(**{name: str(value) for name, value in parts.items() if name not in _SECRET})
