"""``ado token``: through the API, or with a DSN directly on the database (for the first token)."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from cyclopts import App

from app.core.token_file import NewTokenFile
from cli import exits
from cli.errors import CliError, usage
from cli.option_values import seconds_of
from cli.output import show_command, talk, write_items, write_one
from cli.remote.connection import NO_OPTIONS, Options, choose, http
from cli.remote.contexts import Server
from cli.remote.listing import whole
from cli.render.ages import when

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
    role: Literal["viewer", "developer", "operator", "admin", "worker"] | None = None,
    user: str | None = None,
    name: str | None = None,
    worker: str | None = None,
    capability: list[str] | None = None,
    expires: str | None = None,
    to: Path | None = None,
    dsn: str | None = None,
    options: Options = NO_OPTIONS,
) -> int:
    """Make a token; it is shown once, or written to a file.

    Parameters
    ----------
    role
        viewer, developer, operator, admin or worker; not given with --user: the user's.
    user
        Whose token it is, by name or id; a token of no user is a service's.
    name
        What it is for, for example laptop; the name of the service.
    worker
        The one worker id that a worker token is for.
    capability
        The only capabilities that worker may offer.
    expires
        Until when it is valid: 30d, 12h, 5s from now.
    to
        File to write the token to instead of showing it; it must not exist yet, and only you can read it.
    dsn
        Make it directly on this database; ADO_DSN does the same.
    """
    if role is None and user is None:
        raise usage("neither a role nor a user is named", "give --role ROLE or --user NAME")
    if (role == "worker") != (worker is not None):
        raise usage("--role worker goes with --worker ID, and no other role does", "see ado token create --help")
    if capability and role != "worker":
        raise usage("--capability is for --role worker", "leave it out")
    wish = {
        "role": role,
        "user": user,
        "name": name,
        "workerId": worker,
        "capabilities": capability,
        "expiresSeconds": seconds_of(expires) if expires else None,
    }
    with _destination(to) as file:
        made = _make(wish, dsn, options)
        if file is not None:
            _keep(file, made)
    what = (
        f"{made['tokenId']} ({made['role']}, expires {when(made['expiresAt']) if made.get('expiresAt') else 'never'})"
    )
    said = f"{what}; it is not shown again" if to is None else f"{what} is in {to}"
    if to is None:
        _keep_private(1)
    lines = [made.get("token") or ""] if to is None else []
    write_one(made, options.output, "tokenId", lines, note=said)
    if worker is not None and options.output == "text":
        _say_how_to_join(worker, to, dsn, options)
    return exits.SUCCESS


def _say_how_to_join(worker: str, to: Path | None, dsn: str | None, options: Options) -> None:
    """Say what the worker's machine needs, and the command that starts it there."""
    is_direct = dsn or os.environ.get("ADO_DSN")  # then the token does not say where its server is
    server = Server(("URL",), None) if is_direct else choose(options)
    file = to.name if to else f"{worker}.token"
    words = ["ado", "worker", "--url", ",".join(server.urls), "--id", worker, "--token-file", file]
    if server.ca:
        words += ["--ca", Path(server.ca).name]
    files = [str(to) if to else f"the token, as {file} (chmod 600)", *([f"the CA {server.ca}"] if server.ca else [])]
    talk(f"ado: bring {' and '.join(files)} to the worker's machine, and start it there:")
    show_command(shlex.join(words))


def _keep_private(stdout: int) -> None:
    """Take others' rights from the file that the shell sends a token to, as every program refuses one that has them."""
    with contextlib.suppress(OSError):
        found = os.fstat(stdout)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_mode & 0o077:
            os.fchmod(stdout, stat.S_IMODE(found.st_mode) & 0o700)


@contextlib.contextmanager
def _destination(path: Path | None) -> Iterator[NewTokenFile | None]:
    """Make the file for a token that is about to be made, and remove it again if that fails."""
    if path is None:
        yield None
        return
    try:
        file = NewTokenFile(path)
    except FileExistsError:
        raise usage(f"{path} exists already", "name another file with --to, or remove this one first") from None
    except OSError as error:
        raise usage(f"{path} cannot be made: {error.strerror}", "name another file with --to") from error
    try:
        yield file
    except BaseException:
        file.remove()
        raise


def _keep(file: NewTokenFile, made: dict[str, Any]) -> None:
    """Move the token from the answer to its file."""
    try:
        file.write(made.pop("token", ""))
    except OSError as error:
        step = f"revoke it: ado token revoke {made['tokenId']}; then make another where there is room"
        raise CliError(f"the token cannot be written to {file.path}: {error.strerror}", step, exits.FAILED) from error
    made["file"] = str(file.path)


def _make(wish: dict[str, Any], dsn: str | None, options: Options) -> dict[str, Any]:
    if database := dsn or os.environ.get("ADO_DSN"):
        from cli.direct_database import token_create

        return {"expiresAt": None, **_shape(token_create(database, wish))}
    made: dict[str, Any] = http(choose(options)).mutate("tokens.create", wish)
    return made


@tokens.command(name="list")
def list_(*, dsn: str | None = None, options: Options = NO_OPTIONS) -> int:
    """List all tokens without their secrets.

    Parameters
    ----------
    dsn
        Read them directly from this database; ADO_DSN does the same.
    """
    if database := dsn or os.environ.get("ADO_DSN"):
        from cli.direct_database import token_list

        found: dict[str, Any] = {"items": [_shape(row) for row in token_list(database)]}
    else:
        found = whole(http(choose(options)), "tokens.list")
    rows = [["token", "role", "user", "name", "worker", "created", "by", "last used", "expires", "revoked"]]
    columns = ("user", "name", "workerId", "createdAt", "createdBy", "lastUsedAt", "expiresAt", "revokedAt")
    rows += [[t["tokenId"], t["role"], *(_cell(t, column) for column in columns)] for t in found["items"]]
    write_items(found, options.output, "tokenId", rows)
    return exits.SUCCESS


def _cell(token: Mapping[str, Any], name: str) -> str:
    return when(token.get(name)) if name.endswith("At") else token.get(name) or "-"


@tokens.command
def revoke(token: str, /, *, dsn: str | None = None, options: Options = NO_OPTIONS) -> int:
    """Revoke a token; what it has open ends within ten seconds.

    Parameters
    ----------
    token
        The token's id, as ado token list shows it.
    dsn
        Revoke it directly on this database; ADO_DSN does the same.
    """
    if database := dsn or os.environ.get("ADO_DSN"):
        from cli.direct_database import token_revoke

        row = token_revoke(database, token)
        if row is None:
            raise CliError(f"there is no token {token!r}", "ado token list", exits.UNKNOWN, "no_such_token")
        found: dict[str, Any] = _shape(row)
    else:
        found = http(choose(options)).mutate("tokens.revoke", {"tokenId": token})
    write_one(found, options.output, "tokenId", note=f"{token} is revoked")
    return exits.SUCCESS
