"""How a database is named to a person."""

from __future__ import annotations

from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from db.errors import DatabaseUnavailable

_FORM = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE; in the password %25 is %, %40 is @, %2F is / and %23 is #"
_SECRET = frozenset({"password", "sslpassword"})


def read(dsn: str) -> dict[str, Any]:
    """Return the parts of a DSN. Raises DatabaseUnavailable for what is none, and quotes nothing of it.

    Where a password has an ``@``, ``/`` or ``%`` in it, the driver takes a part of the password for the host or the
    port, and names it in its message.
    """
    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:
        raise DatabaseUnavailable("the DSN cannot be read", _FORM) from None
    if "@" in str(parts.get("host", ""))[1:] or not set(str(parts.get("port", ""))) <= set("0123456789,"):
        raise DatabaseUnavailable("the DSN cannot be read: its host or port is none", _FORM)
    return parts


def without_password(dsn: str) -> str:
    """Return a DSN as it may be shown; as it is where it holds no password. Raises DatabaseUnavailable."""
    parts = read(dsn)
    if _SECRET.isdisjoint(parts):
        return dsn
    return make_conninfo(**{name: str(value) for name, value in parts.items() if name not in _SECRET})
