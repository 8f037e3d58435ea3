"""The commands that work directly on a database: its schema, its old logs, and tokens where no server runs yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from cyclopts import App

from cli import durations, exits
from cli.errors import CliError, fail, usage
from cli.extras import need
from cli.output import Form, talk, write_items, write_one

database = App(name="db", help="The database's schema and its old logs.", help_format="plaintext")


def _dsn(dsn: str | None) -> str:
    need("server")
    chosen = dsn or os.environ.get("ADO_DSN")
    if not chosen:
        raise usage("no database is named", "give --dsn, or set ADO_DSN; ado status shows the embedded one's")
    return chosen


@database.command(name="migrate")
def migrate_(*, dsn: str | None = None, output: Form = "text") -> int:
    """Bring the database to this release's schema."""
    from db import migrate
    from db.errors import DatabaseError

    try:
        done = migrate.migrate(_dsn(dsn))
    except DatabaseError as error:
        fail(error)
    said = f"applied {', '.join(map(str, done))}" if done else "the schema is up to date"
    write_one({"applied": list(done), "name": said}, output, "name", said=said)
    return exits.SUCCESS


@database.command(name="check")
def check_(*, dsn: str | None = None, output: Form = "text") -> int:
    """Say whether the database is at this release's schema."""
    from db import migrate
    from db.errors import DatabaseError

    try:
        migrate.check(_dsn(dsn))
    except DatabaseError as error:
        fail(error)
    said = "the schema is up to date"
    write_one({"version": migrate.known(), "name": said}, output, "name", said=said)
    return exits.SUCCESS


@database.command
def prune(*, older_than: str, dsn: str | None = None, output: Form = "text") -> int:
    """Drop the logs of tasks that ended long ago, range by range; tasks and jobs stay and tell how they ended.

    A range of task ids goes once all its ids are used up and all its tasks ended before then. Nothing waits for it.

    Parameters
    ----------
    older_than
        Ended before: 30d, 12h, 90m ago.
    dsn
        The database; ADO_DSN does the same.
    """
    from db import migrate, retention
    from db.errors import DatabaseError

    chosen, seconds = _dsn(dsn), durations.parse(older_than)
    try:
        migrate.check(chosen)
        ranges = list(retention.prune(chosen, seconds))
    except DatabaseError as error:
        fail(error)
    items: list[dict[str, Any]] = [
        {"name": f"task-{found.first}..task-{found.last}", "tasks": found.tasks, "bytes": found.bytes}
        for found in ranges
    ]
    if not items and output == "text":
        talk("ado: nothing to prune: no range of task ids is used up and ended before then (see ado.log_status)")
    else:
        rows = [[item["name"], str(item["tasks"]), f"{item['bytes'] / 2**20:.1f}"] for item in items]
        write_items({"items": items}, output, "name", [["pruned", "tasks", "MiB"], *rows])
    return exits.SUCCESS


def token_create(dsn: str, wish: Mapping[str, Any]) -> dict[str, Any]:
    """Make a token directly on a database, from the input of ``tokens.create``."""
    need("server")
    from db import admin, tokens

    user = _user(dsn, wish["user"]) if wish["user"] else None
    token = tokens.new(
        wish["role"] if user is None else wish["role"] or user["role"],
        worker_id=wish["workerId"],
        capabilities=wish["capabilities"],
        expires_seconds=wish["expiresSeconds"],
        user_id=user["user_id"] if user else None,
        name=wish["name"],
    )
    return {**_on_database(lambda: admin.create_token(dsn, token), dsn), "token": token.token}


def _user(dsn: str, name: str) -> dict[str, Any]:
    from db import admin

    found: dict[str, Any] | None = _on_database(lambda: admin.find_user(dsn, name), dsn)
    if found is None:
        raise CliError(f"there is no user {name!r}", "ado users list", exits.UNKNOWN, "no_such_user")
    return found


def token_list(dsn: str) -> list[dict[str, Any]]:
    """Return the tokens of a database without their secrets."""
    need("server")
    from db import admin

    found: list[dict[str, Any]] = _on_database(lambda: admin.list_tokens(dsn), dsn)
    return found


def token_revoke(dsn: str, token_id: str) -> dict[str, Any] | None:
    """Revoke a token directly on a database; None for an unknown one."""
    need("server")
    from db import admin

    found: dict[str, Any] | None = _on_database(lambda: admin.revoke_token(dsn, token_id), dsn)
    return found


def _on_database(do: Callable[[], Any], dsn: str) -> Any:
    from db import migrate
    from db.errors import DatabaseError

    try:
        migrate.check(dsn)
        return do()
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
    from db.dsn import read
    from db.errors import DatabaseError

    try:
        parts = read(dsn)
    except DatabaseError:
        return [dsn]
    return [str(parts[name]) for name in ("password", "sslpassword") if parts.get(name)]
