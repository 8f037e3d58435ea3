"""The refs of an agent's repository, read as plain files: git would obey the repository's configuration."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.repository.safe_open import open_beneath

_NAME = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOST_REFS = 10_000
_REF_BYTES = 4096
_LOG_BYTES = 1024 * 1024  # the end of a log, with the newest entries


@dataclass(frozen=True, slots=True)
class Ref:
    """A ref that may have work; ``kind`` is branch, tag, stash, or commit for a commit that no branch contains."""

    kind: str
    name: bytes
    commit: str


@dataclass(frozen=True, slots=True)
class Refs:
    """The refs of a repository; ``head`` is the commit that is checked out."""

    head: str | None
    others: tuple[Ref, ...]


def read_refs(git_dir: Path) -> Refs:
    """Return the refs of a repository; none if it is no directory or is broken."""
    if not _is_directory(git_dir):
        return Refs(None, ())
    named = dict(_packed(git_dir))
    for prefix in (b"refs/heads", b"refs/tags"):
        named.update(_loose(git_dir, prefix))
    current = _read(git_dir, "HEAD").strip()
    branch = current.removeprefix(b"ref: ") if current.startswith(b"ref: ") else None
    head = named.get(branch) if branch else _commit(current)
    others = [Ref("branch", name[11:], sha) for name, sha in named.items() if name.startswith(b"refs/heads/")]
    others += [Ref("tag", name[10:], sha) for name, sha in named.items() if name.startswith(b"refs/tags/")]
    stashes = [*_logged(git_dir, "logs/refs/stash"), *filter(None, [_commit(_read(git_dir, "refs/stash"))])]
    others += [Ref("stash", b"%d" % number, sha) for number, sha in enumerate(dict.fromkeys(reversed(stashes)))]
    lost = [*_logged(git_dir, "logs/HEAD")]
    for worktree in _directories(git_dir / "worktrees"):
        own = f"worktrees/{worktree.name}"
        lost += [*_logged(git_dir, f"{own}/logs/HEAD"), *filter(None, [_commit(_read(git_dir, f"{own}/HEAD"))])]
    others += [Ref("commit", sha[:12].encode(), sha) for sha in dict.fromkeys(reversed(lost))]
    return Refs(head, tuple(other for other in others if not (other.kind == "branch" and _full(other) == branch)))


def _full(ref: Ref) -> bytes:
    return b"refs/heads/" + ref.name


def _commit(text: bytes) -> str | None:
    return text.strip().decode() if _NAME.fullmatch(text.strip()) else None


def _packed(git_dir: Path) -> Iterator[tuple[bytes, str]]:
    for line in _read(git_dir, "packed-refs", _LOG_BYTES).splitlines()[:_MOST_REFS]:
        sha, _, name = line.partition(b" ")
        if commit := _commit(sha):
            yield name, commit


def _loose(git_dir: Path, prefix: bytes) -> Iterator[tuple[bytes, str]]:
    count = 0
    top = os.path.join(os.fsencode(git_dir), prefix)  # noqa: PTH118 - bytes
    for directory, _, files in os.walk(top):
        for file in files:
            path = os.path.join(directory, file)  # noqa: PTH118 - bytes
            name = os.path.relpath(path, os.fsencode(git_dir))
            count += 1
            if count <= _MOST_REFS and (commit := _commit(_read(git_dir, os.fsdecode(name)))):
                yield name, commit


def _logged(git_dir: Path, name: str) -> list[str]:
    """Return the commits in the log of a ref, oldest first."""
    entries = (line.split(b" ", 2)[1:2] for line in _read(git_dir, name, _LOG_BYTES).splitlines())
    return [commit for entry in entries if entry and (commit := _commit(entry[0]))]


def _directories(top: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [entry for entry in sorted(top.iterdir()) if _is_directory(entry)]
    return []


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _read(git_dir: Path, name: str, limit: int = _REF_BYTES) -> bytes:
    """Return the end of a regular file; empty if there is none, or a link leads to it."""
    with contextlib.suppress(OSError, ValueError):
        fd = open_beneath(git_dir, Path(name))
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                file.seek(max(0, status.st_size - limit))
                return file.read(limit)
    return b""


def is_closed(objects: Path, store: Path) -> bool:
    """Whether a directory of objects refers only to ``store``: links and alternates may lead to any repository."""
    if not _is_directory(objects):
        return False
    if any(os.path.islink(entry) for entry in _entries(objects)):  # noqa: PTH114 - called for every object
        return False
    borrowed = _read(objects, "info/alternates", _LOG_BYTES).split(b"\n")
    return all(line in (b"", os.fsencode(store / "objects")) for line in borrowed)


def _entries(top: Path) -> Iterator[str]:
    for directory, directories, files in os.walk(top):
        yield from (f"{directory}/{name}" for name in (*directories, *files))
