"""``ado token``: through the API, or with a DSN directly on the database (for the first token)."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from app.core.token_file import NewTokenFile
from cli import exits
from cli.declarations import App, Parameter
from cli.errors import CliError, usage
from cli.option_values import optional_seconds
from cli.output import show_command, talk, write_items, write_one
from cli.parameters import Dsn
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http
from cli.remote.contexts import ServerContext
from cli.remote.listing import whole
from cli.render.ages import when

tokens = App(name="token", help="Make, list and revoke tokens.")


def _shape(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the database as the API shows it, without what is null."""
    return {
        _camel_case(name): value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if value is not None
    }


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class NewTokenOptions:
    """The token that is to be made."""

    role: Literal["viewer", "developer", "operator", "admin", "worker"] | None = None
    "viewer, developer, operator, admin or worker; with --user the default is the user's role."
    user: str | None = None
    "Whose token it is, by name or id. Without it the token is a service's."
    name: str | None = None
    "What it is for, for example laptop; or the name of the service."
    worker: str | None = None
    "The only worker id that a worker token is for."
    capability: list[str] | None = None
    "The only capabilities that this worker may offer."
    expires: str | None = None
    "How long it is valid: 30d, 12h, 5s."

    def members(self) -> dict[str, Any]:
        """Return the input of tokens.create. Raises CliError."""
        if self.role is None and self.user is None:
            raise usage("neither a role nor a user is named", "give --role ROLE or --user NAME")
        if (self.role == "worker") != (self.worker is not None):
            raise usage("--role worker goes with --worker ID, and no other role does", "see ado token create --help")
        if self.capability and self.role != "worker":
            raise usage("--capability is for --role worker", "leave it out")
        return {
            "role": self.role,
            "user": self.user,
            "name": self.name,
            "workerId": self.worker,
            "capabilities": self.capability,
            "expiresSeconds": optional_seconds(self.expires),
        }


_NO_TOKEN = NewTokenOptions()


@tokens.command
def create(
    *, new: NewTokenOptions = _NO_TOKEN, to: Path | None = None, dsn: Dsn = None, options: ServerOptions = NO_OPTIONS
) -> None:
    """Make a token; it is shown once, or written to a file.

    Parameters
    ----------
    to
        File to write the token to instead of showing it. It must not exist yet, and only you can read it.
    """
    members = new.members()
    with _new_file(to) as file:
        token = _make(members, dsn, options)
        if file is not None:
            _move_to_file(token, file)
    expiry = when(token["expiresAt"]) if token.get("expiresAt") else "never"
    label = f"{token['tokenId']} ({token['role']}, expires {expiry})"
    if to is None:
        _make_stdout_private()
        write_one(token, options.output, "tokenId", [token.get("token") or ""], note=f"{label}; it is not shown again")
    else:
        write_one(token, options.output, "tokenId", note=f"{label} is in {to}")
    if new.worker is not None and options.output == "text":
        _show_worker_command(new.worker, to, dsn, options)


def _show_worker_command(worker: str, to: Path | None, dsn: str | None, options: ServerOptions) -> None:
    """Say what the worker's machine needs, and the command that starts it there."""
    is_direct = dsn or os.environ.get("ADO_DSN")  # then the token does not say where its server is
    server = ServerContext(("URL",), None) if is_direct else choose(options)
    file = to.name if to else f"{worker}.token"
    words = ["ado", "worker", "--url", ",".join(server.urls), "--id", worker, "--token-file", file]
    if server.ca:
        words += ["--ca", Path(server.ca).name]
    files = [str(to) if to else f"the token, as {file} (chmod 600)", *([f"the CA {server.ca}"] if server.ca else [])]
    talk(f"ado: bring {' and '.join(files)} to the worker's machine, and start it there:")
    show_command(shlex.join(words))


def _make_stdout_private() -> None:
    """Take the rights of others from the file that the shell writes a token to: ado reads no token that others can."""
    with contextlib.suppress(OSError):
        status = os.fstat(1)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_mode & 0o077:
            os.fchmod(1, stat.S_IMODE(status.st_mode) & 0o700)


@contextlib.contextmanager
def _new_file(path: Path | None) -> Iterator[NewTokenFile | None]:
    """Yield a new file for a token, and remove it if no token is made. Raises CliError."""
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


def _move_to_file(token: dict[str, Any], file: NewTokenFile) -> None:
    """Move the secret of a token to its file. Raises CliError."""
    try:
        file.write(token.pop("token", ""))
    except OSError as error:
        step = f"revoke it: ado token revoke {token['tokenId']}; then make another where there is room"
        raise CliError(f"the token cannot be written to {file.path}: {error.strerror}", step, exits.FAILED) from error
    token["file"] = str(file.path)


def _make(members: dict[str, Any], dsn: str | None, options: ServerOptions) -> dict[str, Any]:
    if database := dsn or os.environ.get("ADO_DSN"):
        from cli.direct_database import token_create

        return {"expiresAt": None, **_shape(token_create(database, members))}
    token: dict[str, Any] = http(choose(options)).mutate("tokens.create", members)
    return token


@tokens.command(name="list")
def list_(*, dsn: Dsn = None, options: ServerOptions = NO_OPTIONS) -> None:
    """List all tokens without their secrets."""
    if database := dsn or os.environ.get("ADO_DSN"):
        from cli.direct_database import token_list

        page: dict[str, Any] = {"items": [_shape(row) for row in token_list(database)]}
    else:
        page = whole(http(choose(options)), "tokens.list")
    head = ["token", "role", "user", "name", "worker", "created", "by", "last used", "expires", "revoked"]
    write_items(page, options.output, "tokenId", [head, *map(_row, page["items"])])


def _row(token: Mapping[str, Any]) -> list[str]:
    texts = [token.get(name) or "-" for name in ("tokenId", "role", "user", "name", "workerId")]
    created, *others = [when(token.get(name)) for name in ("createdAt", "lastUsedAt", "expiresAt", "revokedAt")]
    return [*texts, created, token.get("createdBy") or "-", *others]


@tokens.command
def revoke(token: str, /, *, dsn: Dsn = None, options: ServerOptions = NO_OPTIONS) -> None:
    """Revoke a token; what it has open ends within ten seconds.

    Parameters
    ----------
    token
        The token's id, as ado token list shows it.
    """
    if database := dsn or os.environ.get("ADO_DSN"):
        from cli.direct_database import token_revoke

        row = token_revoke(database, token)
        if row is None:
            raise CliError(f"there is no token {token!r}", "ado token list", exits.UNKNOWN, "no_such_token")
        revoked: dict[str, Any] = _shape(row)
    else:
        revoked = http(choose(options)).mutate("tokens.revoke", {"tokenId": token})
    write_one(revoked, options.output, "tokenId", note=f"{token} is revoked")
