"""``ado token``: through the API, or with a DSN directly on the database (for the first token)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from cyclopts import App

from cli import durations, exits
from cli.connection import Options, choose, http
from cli.errors import CliError, usage
from cli.output import write_items, write_one

_NO_OPTIONS = Options()
tokens = App(name="token", help="Make, list and revoke tokens.", help_format="plaintext")


def _shape(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the database as the API shows it; what is not set is left out."""
    return {
        "".join((head, *(part.title() for part in rest))): value.isoformat() if isinstance(value, datetime) else value
        for (head, *rest), value in ((name.split("_"), value) for name, value in row.items())
        if value is not None
    }


@tokens.command
def create(
    *,
    role: Literal["viewer", "operator", "admin", "worker"],
    worker: str | None = None,
    capability: list[str] | None = None,
    expires: str | None = None,
    dsn: str | None = None,
    options: Options = _NO_OPTIONS,
) -> int:
    """Make a token; it is shown once.

    Parameters
    ----------
    role
        viewer, operator, admin or worker.
    worker
        The one worker id that a worker token is for.
    capability
        The only capabilities that worker may offer.
    expires
        Until when it is valid: 30d, 12h, 5s from now.
    dsn
        Make it directly on this database; ADO_DSN does the same.
    """
    if (role == "worker") != (worker is not None):
        raise usage("--role worker goes with --worker ID, and no other role does", "see ado token create --help")
    if capability and role != "worker":
        raise usage("--capability is for --role worker", "leave it out")
    seconds = durations.parse(expires) if expires else None
    if database := dsn or os.environ.get("ADO_DSN"):
        from cli.database import token_create

        stored = token_create(database, role, worker, capability, seconds)
        made: dict[str, Any] = {"expiresAt": None, **_shape(stored)}
    else:
        wish = {"role": role, "workerId": worker, "capabilities": capability, "expiresSeconds": seconds}
        made = http(choose(options)).mutate("tokens.create", wish)
    said = f"{made['tokenId']} ({made['role']}, expires {made.get('expiresAt') or 'never'}); it is not shown again"
    write_one(made, options.output, "tokenId", [made.get("token") or ""], said=said)
    return exits.SUCCESS


@tokens.command(name="list")
def list_(*, dsn: str | None = None, options: Options = _NO_OPTIONS) -> int:
    """List all tokens without their secrets.

    Parameters
    ----------
    dsn
        Read them directly from this database; ADO_DSN does the same.
    """
    if database := dsn or os.environ.get("ADO_DSN"):
        from cli.database import token_list

        found: dict[str, Any] = {"items": [_shape(row) for row in token_list(database)]}
    else:
        found = http(choose(options)).query("tokens.list")
    rows = [["token", "role", "worker", "created", "expires", "revoked"]]
    optional = ("workerId", "expiresAt", "revokedAt")
    rows += [
        [t["tokenId"], t["role"], worker, t["createdAt"], expires, revoked]
        for t in found["items"]
        for worker, expires, revoked in [[t.get(name) or "-" for name in optional]]
    ]
    write_items(found, options.output, "tokenId", rows)
    return exits.SUCCESS


@tokens.command
def revoke(token: str, /, *, dsn: str | None = None, options: Options = _NO_OPTIONS) -> int:
    """Revoke a token; what it has open ends within ten seconds.

    Parameters
    ----------
    token
        The token's id, as ado token list shows it.
    dsn
        Revoke it directly on this database; ADO_DSN does the same.
    """
    if database := dsn or os.environ.get("ADO_DSN"):
        from cli.database import token_revoke

        row = token_revoke(database, token)
        if row is None:
            raise CliError(f"there is no token {token!r}", "ado token list", exits.UNKNOWN, "no_such_token")
        found: dict[str, Any] = _shape(row)
    else:
        found = http(choose(options)).mutate("tokens.revoke", {"tokenId": token})
    write_one(found, options.output, "tokenId", said=f"{token} is revoked")
    return exits.SUCCESS
