"""``ado token``: through the API, or with a DSN directly on the database (for the first token)."""

from __future__ import annotations

import os
from typing import Any, Literal

from cyclopts import App

from cli import durations, exits
from cli.connection import Options, choose, http
from cli.output import write_items, write_one

_NO_OPTIONS = Options()
tokens = App(name="token", help="Make, list and revoke tokens.", help_format="plaintext")


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
    seconds = durations.parse(expires) if expires else None
    if database := dsn or os.environ.get("ADO_DSN"):
        from cli.database import token_create

        made: dict[str, Any] = token_create(database, role, worker, capability, seconds)
    else:
        wish = {"role": role, "workerId": worker, "capabilities": capability, "expiresSeconds": seconds}
        made = http(choose(options)).mutate("tokens.create", wish)
    said = f"{made['tokenId']} ({made['role']}, expires {made['expiresAt'] or 'never'}); it is not shown again"
    write_one(made, options.output, "tokenId", [made["token"]], said=said)
    return exits.SUCCESS


@tokens.command(name="list")
def list_(*, options: Options = _NO_OPTIONS) -> int:
    """List all tokens without their secrets."""
    found = http(choose(options)).query("tokens.list")
    rows = [["token", "role", "worker", "created", "expires", "revoked"]]
    optional = ("workerId", "expiresAt", "revokedAt")
    rows += [
        [t["tokenId"], t["role"], worker, t["createdAt"], expires, revoked]
        for t in found["items"]
        for worker, expires, revoked in [[t.get(name, "-") for name in optional]]
    ]
    write_items(found, options.output, "tokenId", rows)
    return exits.SUCCESS


@tokens.command
def revoke(token: str, /, *, options: Options = _NO_OPTIONS) -> int:
    """Revoke a token; what it has open ends within ten seconds.

    Parameters
    ----------
    token
        The token's id, as ado token list shows it.
    """
    found = http(choose(options)).mutate("tokens.revoke", {"tokenId": token})
    write_one(found, options.output, "tokenId", said=f"{token} is revoked")
    return exits.SUCCESS
