"""How a database is named to a person."""

from __future__ import annotations

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_SECRET = frozenset({"password", "sslpassword"})


def without_password(dsn: str) -> str:
    """Return a DSN as it may be shown; as it is where it holds no password."""
    parts = conninfo_to_dict(dsn)
    if _SECRET.isdisjoint(parts):
        return dsn
    return make_conninfo(**{name: str(value) for name, value in parts.items() if name not in _SECRET})
