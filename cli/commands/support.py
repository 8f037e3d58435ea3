"""``ado support-bundle``: an archive for support, without secrets."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cli.commands.support_facts import PartMissing, parts
from cli.control_plane import embedded
from cli.errors import CliError, refused, usage
from cli.output import write_one
from cli.remote import contexts
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose
from cli.remote.contexts import ServerContext
from cli.scrub import scrub

_SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "DSN", "AUTH")
_ABOUT = """\
What an engineer needs to help with this installation of ado. Left out: prompts, output, results, values of
environments, and every secret that was known here (tokens, passwords, keys), in whatever form it stood.
Read it before you send it: a name of a host or a person is no secret to this command.
"""


def support_bundle(*, to: Path | None = None, options: ServerOptions = NO_OPTIONS) -> None:
    """Write an archive for support, without secrets.

    Parameters
    ----------
    to
        The file to write; ado-support-TIME.tar.gz in this directory otherwise.
    """
    path = to or Path(f"ado-support-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz")
    plane = embedded.find()
    dsn = os.environ.get("ADO_DSN") or (plane.dsn if plane else None)
    server, why = _server(options)
    files, missing = _collected(server, dsn, why)
    secrets = set(_secrets(server, dsn))
    content = _archive({name: scrub(data, secrets) for name, data in files.items()})
    _write(path, content)
    lines = [f"wrote {path} ({len(content) / 1024:.0f} KiB): {', '.join(sorted(files))}"]
    lines += [f"missing: {name}: {reason}" for name, reason in sorted(missing.items())]
    write_one({"file": str(path), "files": sorted(files), "missing": missing}, options.output, "file", lines)


def _server(options: ServerOptions) -> tuple[ServerContext | None, str]:
    """Return the server to ask, or why there is none."""
    try:
        return choose(options), ""
    except CliError as error:
        return None, str(error)


def _collected(server: ServerContext | None, dsn: str | None, why: str) -> tuple[dict[str, bytes], dict[str, str]]:
    files, missing = {}, {}
    for name, part in parts(server, dsn).items():
        try:
            files[name] = part()
        except PartMissing as error:
            missing[name] = why if server is None and name != "database.json" and why else str(error)
        except Exception as error:  # noqa: BLE001 - one part that fails must not cost the others
            missing[name] = f"{type(error).__name__}: {error}"
    listed = "".join(f"{name}: {reason}\n" for name, reason in sorted(missing.items())) or "nothing\n"
    files["README.txt"] = f"{_ABOUT}\nMissing:\n{listed}".encode()
    return files, missing


def _secrets(server: ServerContext | None, dsn: str | None) -> Iterator[str]:
    """Return every secret that is known on this machine."""
    if server is not None and server.token:
        yield server.token
    for name, value in os.environ.items():
        if any(word in name.upper() for word in _SECRET):
            yield value
            yield from value.split(",")  # several keys
    with contextlib.suppress(CliError):  # a file that cannot be read adds nothing to the bundle either
        yield from (str(entry["token"]) for entry in contexts.load()["contexts"].values() if entry.get("token"))
    from cli.direct_database import passwords

    for one in (dsn, os.environ.get("ADO_DSN"), os.environ.get("ADO_LISTEN_DSN")):
        if one:
            yield from passwords(one)


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(f"ado-support/{name}")
            member.size, member.mode, member.mtime = len(data), 0o600, int(time.time())
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Write a new file, readable for its owner alone from its first moment."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise usage(f"{path} is there already", "name another file with --to, or remove it") from None
    except OSError as error:
        raise refused(error) from error
    with os.fdopen(number, "wb") as file:
        file.write(content)
