"""Reading a DSN: its parts, what may be shown of it, and which of its hosts is used."""

from __future__ import annotations

import os
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from db.errors import DatabaseUnavailable

_FORM = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE; in the password %25 is %, %40 is @, %2F is / and %23 is #"
_SECRET = frozenset({"password", "sslpassword"})


def read(dsn: str) -> dict[str, Any]:
    """Return the parts of a DSN. Raises DatabaseUnavailable for text that is no DSN, and quotes none of it.

    If a password contains ``@``, ``/`` or ``%``, the driver takes a part of the password for the host or the port, and
    its message would show that part.
    """
    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:
        raise DatabaseUnavailable("the DSN cannot be read", _FORM) from None
    if "@" in str(parts.get("host", ""))[1:] or not set(str(parts.get("port", ""))) <= set("0123456789,"):
        raise DatabaseUnavailable("the DSN cannot be read: its host or port is not valid", _FORM)
    return parts


def without_password(dsn: str) -> str:
    """Return a DSN without its passwords; unchanged if it has none. Raises DatabaseUnavailable."""
    parts = read(dsn)
    if _SECRET.isdisjoint(parts):
        return dsn
    return make_conninfo(**{name: str(value) for name, value in parts.items() if name not in _SECRET})


def session_options(dsn: str) -> dict[str, Any]:
    """Return connection options that choose, of several hosts, the one that takes writes; none if the DSN chooses."""
    try:
        parts = conninfo_to_dict(dsn)
    except ProgrammingError:  # connecting reports what is wrong with the DSN
        return {}
    hosts = str(parts.get("host") or parts.get("hostaddr") or os.environ.get("PGHOST", ""))
    chosen = "target_session_attrs" in parts or "PGTARGETSESSIONATTRS" in os.environ
    return {"target_session_attrs": "read-write"} if "," in hosts and not chosen else {}
