"""Which of several servers in a DSN is the right one: the one that takes writes."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict


def session_options(dsn: str) -> dict[str, Any]:
    """Return what to connect with besides the DSN: of several hosts the one that takes writes, unless the DSN says."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:  # whoever connects says what is wrong with it
        return {}
    hosts = str(parts.get("host") or parts.get("hostaddr") or os.environ.get("PGHOST", ""))
    chosen = "target_session_attrs" in parts or "PGTARGETSESSIONATTRS" in os.environ
    return {"target_session_attrs": "read-write"} if "," in hosts and not chosen else {}
