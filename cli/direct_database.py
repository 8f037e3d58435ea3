"""What commands do directly on a database, without a server: tokens, and the facts of a support bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from cli import exits
from cli.errors import CliError, fail, usage
from cli.extras import has, need


def dsn_of(dsn: str | None) -> str:
    """Return the database that an option or ADO_DSN names. Raises CliError."""
    need("server")
    chosen = dsn or os.environ.get("ADO_DSN")
    if not chosen:
        raise usage("no database is named", "give --dsn, or set ADO_DSN; ado status shows the embedded one's")
    return chosen


def token_create(dsn: str, call_input: Mapping[str, Any]) -> dict[str, Any]:
    """Make a token directly on a database, from the input of ``tokens.create``."""
    need("server")
    from db import token_admin, tokens

    user = _user(dsn, call_input["user"]) if call_input["user"] else None
    token = tokens.new(
        call_input["role"] if user is None else call_input["role"] or user["role"],
        worker_id=call_input["workerId"],
        capabilities=call_input["capabilities"],
        expires_seconds=call_input["expiresSeconds"],
        user_id=user["user_id"] if user else None,
        name=call_input["name"],
    )
    return {**_on_database(lambda: token_admin.create_token(dsn, token), dsn), "token": token.token}


def _user(dsn: str, name: str) -> dict[str, Any]:
    from db import token_admin

    user: dict[str, Any] | None = _on_database(lambda: token_admin.find_user(dsn, name), dsn)
    if user is None:
        raise CliError(f"there is no user {name!r}", "ado users list", exits.UNKNOWN, "no_such_user")
    return user


def token_list(dsn: str) -> list[dict[str, Any]]:
    """Return the tokens of a database without their secrets."""
    need("server")
    from db import token_admin

    rows: list[dict[str, Any]] = _on_database(lambda: token_admin.list_tokens(dsn), dsn)
    return rows


def token_revoke(dsn: str, token_id: str) -> dict[str, Any] | None:
    """Revoke a token directly on a database; None for an unknown one."""
    need("server")
    from db import token_admin

    row: dict[str, Any] | None = _on_database(lambda: token_admin.revoke_token(dsn, token_id), dsn)
    return row


def _on_database(action: Callable[[], Any], dsn: str) -> Any:
    from db import migrate
    from db.errors import DatabaseError

    try:
        migrate.check(dsn)
        return action()
    except DatabaseError as error:
        fail(error)


def support_facts(dsn: str) -> dict[str, Any]:
    """Return what a support bundle says of the database. Raises CliError."""
    from db.errors import DatabaseError
    from db.support import facts

    try:
        return facts(dsn)
    except DatabaseError as error:
        fail(error)


def passwords(dsn: str) -> list[str]:
    """Return the passwords in a DSN; all of it where it cannot be read."""
    if not has("server"):
        return [dsn]
    from db.dsn import read
    from db.errors import DatabaseError

    try:
        parts = read(dsn)
    except DatabaseError:
        return [dsn]
    return [str(parts[name]) for name in ("password", "sslpassword") if parts.get(name)]
