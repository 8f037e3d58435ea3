"""Tokens directly on the database, without a server: the first one, and those of ``ado token --dsn``."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from db import tokens
from db.actor import Actor, parameter
from db.connect import Row, SyncConnection, connected, run
from db.paging import ALL


def login_actor(connection: SyncConnection, procedure: str) -> Actor:
    """Return the database login as the actor of a change, for the audit."""
    return Actor(procedure, address=f"sql:{connection.info.user}")


def create_token(dsn: str, token: tokens.NewToken) -> Mapping[str, Any]:
    """Store a token; return its id, role and expiry."""
    with connected(dsn) as connection:
        actor = parameter(login_actor(connection, "tokens.create"))
        return run(connection, "create_token", **token.values, actor=actor)[0]


def list_tokens(dsn: str) -> list[Row]:
    """Return all tokens without their secrets."""
    with connected(dsn) as connection:
        rows = run(connection, "list_tokens", after_at=None, after=None, row_limit=ALL.rows, byte_limit=ALL.bytes)
    return [{name: value for name, value in row.items() if name != "more"} for row in rows]


def revoke_token(dsn: str, token_id: str) -> Mapping[str, Any] | None:
    """Revoke a token; None for an unknown id."""
    with connected(dsn) as connection:
        actor = parameter(login_actor(connection, "tokens.revoke"))
        rows = run(connection, "revoke_token", token_id=token_id, actor=actor)
    return rows[0] if rows else None


def find_user(dsn: str, name: str) -> Mapping[str, Any] | None:
    """Return a user's row by name or public id; None for an unknown one."""
    with connected(dsn) as connection:
        rows = run(connection, "find_user", user_name=name)
    return rows[0] if rows else None


def _system_user() -> str:
    """Return the name that the token of this machine's user gets."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without an entry in the system's table
        return f"uid-{os.getuid()}"


def ensure_token(dsn: str, file: Path) -> None:
    """Make sure that ``file`` holds an administrator's token that this database knows; 0600, one line."""
    if file.exists():
        with connected(dsn) as connection:
            rows = run(connection, "find_token", digest=tokens.digest(file.read_text("utf-8").strip()))
        if rows and rows[0]["valid"]:
            return
    token = tokens.new("admin", name=_system_user())
    create_token(dsn, token)
    staging = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
        output.write(token.token + "\n")
    staging.replace(file)
