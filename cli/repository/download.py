"""Writes files of a result into a directory: nothing outside of it, and nothing that exists already.

Everything is checked before anything is written. Links are written last, so that no file is written through one, and
only links that stay inside the download are written.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cli.errors import usage
from cli.repository.git import Repository, failed
from cli.repository.size_limits import total_bytes

_LINK, _SUBMODULE, _PROGRAM = "120000", "160000", "100755"
_LINK_BYTES = 4096
_HEAD_BYTES = 200
_PIECE_BYTES = 64 * 1024
Content = Iterator[bytes]


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file of a tree: its mode, object and path, and its path below what is downloaded."""

    mode: str
    name: str
    path: str
    target: str


def checked(path: str) -> str:
    """Return a path within the repository, ``.`` for all of it. Raises CliError for a path that leads out of it."""
    parts = path.replace("\\", "/").split("/")
    if path.startswith(("/", "~")) or ".." in parts or "\0" in path or (len(parts[0]) == 2 and parts[0][1] == ":"):
        raise usage(f"{path!r} is not a path within the repository", "name it from the repository's top: src/a.py")
    return posixpath.normpath(path or ".")


def entries(repository: Repository, commit: str, path: str) -> list[TreeEntry]:
    """Return the files at or below a path. Raises CliError when there are none."""
    listed = repository.names("ls-tree", "-r", "-z", "--full-tree", commit, *([] if path == "." else ["--", path]))
    files = []
    above = "" if path == "." else posixpath.dirname(path)
    for line in listed:
        mode, _, rest = line.partition(" ")
        name, _, where = rest.partition(" ")[2].partition("\t")
        files.append(TreeEntry(mode, name, where, where.removeprefix(f"{above}/") if above else where))
    if not files:
        raise failed(
            f"the result has no {path}",
            "name it from the repository's root; ado diff TASK --stat shows what the task changed",
        )
    return files


def write(repository: Repository, chosen: Sequence[TreeEntry], to: Path) -> list[str]:
    """Write files below a directory; return their paths there. Raises CliError before it writes anything."""
    files = [entry for entry in chosen if entry.mode not in (_LINK, _SUBMODULE)]
    links = [entry for entry in chosen if entry.mode == _LINK]
    targets: dict[TreeEntry, str] = {}
    _read_each(repository, links, lambda entry, content: targets.update({entry: _target(entry, content)}))
    for entry in chosen:
        _check_name(entry)
        _check_place(to, entry)
    for entry, target in targets.items():
        _check_link(entry, target)
    repository.check_sizes([entry.name for entry in files], total_bytes())
    _read_each(repository, files, lambda entry, content: _write_file(to, entry, content))
    for entry, target in targets.items():
        place = to / entry.target
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    return [entry.target for entry in (*files, *links)]


def _write_file(to: Path, entry: TreeEntry, content: Content) -> None:
    place = to / entry.target
    place.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(place, flags, 0o777 if entry.mode == _PROGRAM else 0o666), "wb") as output:
        for piece in content:
            output.write(piece)


def _target(entry: TreeEntry, content: Content) -> str:
    """Return the target of a link. Raises CliError."""
    target = b""
    for piece in content:
        target += piece
        if len(target) > _LINK_BYTES or b"\0" in target:
            raise failed(f"{entry.path} is no link that can be made", "download other paths one by one")
    return os.fsdecode(target)


def _check_name(entry: TreeEntry) -> None:
    """Raise CliError for a path that git never stores; git has checked it too, this is a second barrier."""
    parts = entry.target.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise failed(f"{entry.path} is not a path of a file", "download other paths one by one")


def _check_place(to: Path, entry: TreeEntry) -> None:
    place = to
    for part in entry.target.split("/")[:-1]:
        place /= part
        if place.is_symlink():
            raise failed(f"{place} is a link", "choose another directory with --to")
    if os.path.lexists(to / entry.target):
        raise failed(f"{to / entry.target} exists", "remove it, or choose another directory with --to")


def _check_link(entry: TreeEntry, target: str) -> None:
    """Raise CliError for a link that leads out. A .. after a name is refused too: that name may be another link."""
    names = target.split("/")
    climbs = next((count for count, name in enumerate(names) if name not in ("..", ".", "")), len(names))
    depth = entry.target.count("/")
    if target.startswith("/") or names[:climbs].count("..") > depth or ".." in names[climbs:]:
        raise failed(f"{entry.path} is a link that leads out: {target}", "download other paths one by one")


def _read_each(repository: Repository, chosen: Sequence[TreeEntry], use: Callable[[TreeEntry, Content], None]) -> None:
    """Give the content of each object to ``use``, which reads it in pieces to its end."""
    if not chosen:
        return
    names = "".join(f"{entry.name}\n" for entry in chosen).encode()
    with repository.stream("cat-file", "--batch", stdin=names) as output:
        for entry in chosen:
            size = int(output.readline(_HEAD_BYTES).split()[2])
            use(entry, _pieces(output, size))
            output.read(1)


def _pieces(output: IO[bytes], size: int) -> Content:
    while size:
        piece = output.read(min(size, _PIECE_BYTES))
        if not piece:
            raise failed("git ended in the middle of a file", "try again")
        size -= len(piece)
        yield piece
