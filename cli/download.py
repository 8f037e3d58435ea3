"""Files of a result, written into a directory: nothing outside of it, nothing that is there already.

Everything is looked at before anything is written. Links come last, so that no file is written through one, and only
those that stay within what is downloaded.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.errors import usage
from cli.git import Repository, failed

_LINK, _SUBMODULE, _PROGRAM = "120000", "160000", "100755"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a tree: its mode, object and path, and its path below what is downloaded."""

    mode: str
    name: str
    path: str
    target: str


def checked(path: str) -> str:
    """Return a path within the repository, ``.`` for all of it. Raises CliError for one that leads out."""
    parts = path.replace("\\", "/").split("/")
    if path.startswith(("/", "~")) or ".." in parts or "\0" in path or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise usage(f"{path!r} is not a path within the repository", "name it from the repository's top: src/a.py")
    return posixpath.normpath(path or ".")


def entries(repository: Repository, commit: str, path: str) -> list[Entry]:
    """Return the files at or below a path. Raises CliError when there are none."""
    listed = repository.names("ls-tree", "-r", "-z", "--full-tree", commit, *([] if path == "." else ["--", path]))
    found = []
    above = "" if path == "." else posixpath.dirname(path)
    for line in listed:
        mode, _, rest = line.partition(" ")
        name, _, where = rest.partition(" ")[2].partition("\t")
        found.append(Entry(mode, name, where, where.removeprefix(f"{above}/") if above else where))
    if not found:
        raise failed(f"the result has no {path}", "ado diff --stat shows what the task changed")
    return found


def write(repository: Repository, found: Sequence[Entry], to: Path) -> list[str]:
    """Write files below a directory; return their paths there. Raises CliError and writes nothing then."""
    files = [entry for entry in found if entry.mode not in (_LINK, _SUBMODULE)]
    links = [entry for entry in found if entry.mode == _LINK]
    targets = dict(zip(links, _contents(repository, links), strict=True))
    for entry in found:
        _check_place(to, entry)
    for entry, target in targets.items():
        _check_link(entry, os.fsdecode(target))
    for entry, content in zip(files, _contents(repository, files), strict=True):
        place = to / entry.target
        place.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(place, flags, 0o777 if entry.mode == _PROGRAM else 0o666), "wb") as output:
            output.write(content)
    for entry, target in targets.items():
        place = to / entry.target
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.fsdecode(target))
    return [entry.target for entry in (*files, *links)]


def _check_place(to: Path, entry: Entry) -> None:
    place = to
    for part in entry.target.split("/")[:-1]:
        place /= part
        if place.is_symlink():
            raise failed(f"{place} is a link", "choose another directory with --to")
    if os.path.lexists(to / entry.target):
        raise failed(f"{to / entry.target} exists", "remove it, or choose another directory with --to")


def _check_link(entry: Entry, target: str) -> None:
    end = posixpath.normpath(posixpath.join(posixpath.dirname(entry.target), target))
    if target.startswith("/") or end == ".." or end.startswith("../"):
        raise failed(f"{entry.path} is a link that leads out: {target}", "download other paths one by one")


def _contents(repository: Repository, found: Sequence[Entry]) -> list[bytes]:
    """Read objects in one go."""
    if not found:
        return []
    wanted = "".join(f"{entry.name}\n" for entry in found).encode()
    data = repository.git("cat-file", "--batch", stdin=wanted)
    contents, at = [], 0
    for _ in found:
        end = data.index(b"\n", at)
        size = int(data[at:end].split()[2])
        contents.append(data[end + 1 : end + 1 + size])
        at = end + 2 + size
    return contents
