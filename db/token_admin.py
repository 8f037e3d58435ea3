"""What an administrator does directly on the database, on psycopg: the first token, tokens without a server."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from db import tokens
from db.actor import Actor, parameter
from db.connect import connected
from db.paging import ALL
from db.queries import load


def _run(dsn: str, name: str, procedure: str | None = None, **values: Any) -> list[dict[str, Any]]:
    """Run a statement; a change is audited as the ``procedure`` that does the same, under the login's name."""
    query = load()[name]
    with connected(dsn, row_factory=dict_row) as connection:
        if procedure is not None:
            values["actor"] = parameter(by_login(connection, procedure))
        query.arguments(values)
        found: list[dict[str, Any]] = connection.execute(query.named.encode(), values).fetchall()
        return found


def by_login(connection: psycopg.Connection[Any], procedure: str) -> Actor:
    """Return who makes a change directly on the database."""
    return Actor(procedure, address=f"sql:{connection.info.user}")


def create_token(dsn: str, token: tokens.NewToken) -> Mapping[str, Any]:
    """Store a token; return its id, role and expiry."""
    return _run(dsn, "create_token", "tokens.create", **token.values)[0]


def list_tokens(dsn: str) -> list[dict[str, Any]]:
    """Return all tokens without their secrets."""
    found = _run(dsn, "list_tokens", after_at=None, after=None, row_limit=ALL.rows, byte_limit=ALL.bytes)
    return [{name: value for name, value in row.items() if name != "more"} for row in found]


def revoke_token(dsn: str, token_id: str) -> Mapping[str, Any] | None:
    """Revoke a token; None for an unknown id."""
    rows = _run(dsn, "revoke_token", "tokens.revoke", token_id=token_id)
    return rows[0] if rows else None


def find_user(dsn: str, name: str) -> Mapping[str, Any] | None:
    """Return a user's row by name or public id; None for an unknown one."""
    rows = _run(dsn, "find_user", user_name=name)
    return rows[0] if rows else None


def _person() -> str:
    """Return the name under which the person at this machine is shown."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without an entry in the system's table
        return f"uid-{os.getuid()}"


def ensure_token(dsn: str, file: Path) -> None:
    """Make sure that ``file`` holds an administrator's token that this database knows; 0600, one line."""
    if file.exists():
        found = _run(dsn, "find_token", digest=tokens.digest(file.read_text("utf-8").strip()))
        if found and found[0]["valid"]:
            return
    token = tokens.new("admin", name=_person())
    create_token(dsn, token)
    staging = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
        output.write(token.token + "\n")
    staging.replace(file)
