"""A commit of an agent's directory, made by a repository of its own from the files alone.

What is left out is named: new files that look like secrets, files that hold a secret of the worker, empty directories,
and files that cannot be read or are larger than may travel. Repositories inside the repository and submodules are told
apart (``worker.repository.other_refs`` brings them). Ignored files are not part of it.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.core.git import EXPORT_PACK, GitError, looks_secret, quoted, write_header
from app.core.pack_check import PackLimits, check_bundle
from worker.output.masking import NO_SECRETS, Secrets
from worker.repository.git import git

_HASHED_FACTOR = 4  # so many times the limit is hashed at most: what is packed is compressed
_PIECE_BYTES = 1024 * 1024
_MOST_EMPTY = 100


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """What may travel: files up to a size in bytes, and none that holds a secret."""

    size: int
    secrets: Secrets = NO_SECRETS
    start: str = ""
    """The directory that was made for the agent to start in."""


@dataclass(frozen=True, slots=True)
class TreeSnapshot:
    """A commit of the agent's directory on top of the base, and what it leaves out."""

    commit: str
    base: str
    files: int = 0
    added: int = 0
    removed: int = 0
    left_out: Sequence[str] = ()
    nested: Sequence[bytes] = ()
    """Directories of repositories of their own and of submodules, which are no part of it."""

    @property
    def changed(self) -> bool:
        """Whether anything differs from the base."""
        return self.commit != self.base


@dataclass(slots=True)
class _Changes:
    written: list[bytes] = field(default_factory=list)
    removed: list[bytes] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    nested: list[bytes] = field(default_factory=list)


class Snapshotter:
    """One snapshot, in a repository made for it."""

    def __init__(self, git_dir: Path, work_tree: Path, store: Path, base: str, limits: SnapshotLimits) -> None:
        self._git_dir = git_dir
        self._work_tree = work_tree
        self._base = base
        self._limits = limits
        self._env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(store / "objects")}

    async def _git(self, *words: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
        return await git(
            *words, git_dir=self._git_dir, work_tree=self._work_tree, env={**self._env, **(env or {})}, stdin=stdin
        )

    async def commit(self, message: str, author: str) -> TreeSnapshot:
        """Commit the directory on top of the base; nothing changed gives the base itself."""
        await self._git("read-tree", self._base)
        await self._git("update-index", "-q", "--refresh", "--ignore-submodules")
        changes = await self._changes()
        for option, paths in (("--force-remove", changes.removed), ("--replace", changes.written)):
            if paths:
                names = b"".join(path + b"\0" for path in paths)
                await self._git("update-index", "--add", option, "-z", "--stdin", stdin=names)
        tree = (await self._git("write-tree")).strip().decode()
        left_out, nested = tuple(changes.left_out), tuple(changes.nested)
        if tree == (await self._git("rev-parse", f"{self._base}^{{tree}}")).strip().decode():
            return TreeSnapshot(self._base, self._base, left_out=left_out, nested=nested)
        env = {"GIT_AUTHOR_NAME": author, "GIT_COMMITTER_NAME": author}
        made = await self._git("commit-tree", tree, "-p", self._base, stdin=message.encode(), env=env)
        commit = made.strip().decode()
        numbers = await self._git("diff-tree", "-r", "-z", "--numstat", "--no-renames", self._base, commit)
        files, added, removed = await asyncio.to_thread(_counts, numbers)
        return TreeSnapshot(commit, self._base, files, added, removed, left_out, nested)

    async def _changes(self) -> _Changes:
        """Return what differs from the base and may travel."""
        staged = await self._git("ls-files", "-z", "--stage")
        modified = await self._git("diff-files", "-z", "--name-only", "--ignore-submodules=all")
        others = await self._git("ls-files", "-z", "--others", "--exclude-standard")
        found, links = await asyncio.to_thread(self._tell_apart, staged, modified, others)
        await self._leave_secrets(found)
        await self._name_empty_directories(found, links)
        return found

    def _tell_apart(self, staged: bytes, modified: bytes, others: bytes) -> tuple[_Changes, set[bytes]]:
        """Return what git's lists say was changed, and the submodules. Raises GitError."""
        links = {entry.partition(b"\t")[2] for entry in staged.split(b"\0") if entry.startswith(b"160000 ")}
        paths = [path for path in _names(modified) if path not in links]
        left_out, nested = [], []
        for path in _names(others):
            if path.endswith(b"/"):
                nested.append(path.rstrip(b"/"))
            elif _is_secret(path):
                left_out.append(f"{quoted(path)} (looks like a secret)")
            else:
                paths.append(path)
        found = self._sort(paths, links, left_out)
        found.nested += nested
        return found, links

    async def _leave_secrets(self, found: _Changes) -> None:
        """Leave out files that hold a secret of the worker, unless the base has it in them already."""
        suspects = await asyncio.to_thread(self._with_secrets, found.written)
        if left := {path for path in suspects if not await self._had_secret(path)}:
            found.written = [path for path in found.written if path not in left]
            found.left_out += [f"{quoted(path)} (contains a secret of the worker)" for path in suspects if path in left]

    def _with_secrets(self, paths: Sequence[bytes]) -> list[bytes]:
        known_in = self._limits.secrets.known_in
        return [path for path in paths if known_in([path]) or known_in(_content(self._work_tree / os.fsdecode(path)))]

    async def _had_secret(self, path: bytes) -> bool:
        if self._limits.secrets.known_in([path]):
            return False
        try:
            before = await self._git("cat-file", "blob", f"{self._base}:{os.fsdecode(path)}")
        except GitError:
            return False
        return await asyncio.to_thread(self._limits.secrets.known_in, [before])

    async def _name_empty_directories(self, found: _Changes, links: Iterable[bytes]) -> None:
        known = {*links, os.fsencode(self._limits.start)}
        empty = await asyncio.to_thread(_empty_directories, self._work_tree, known, found.removed)
        if empty:
            ignored = set(_names(await self._ignored(empty)))
            found.left_out += [f"{quoted(path)}/ (an empty directory)" for path in empty if path not in ignored]

    async def _ignored(self, paths: Sequence[bytes]) -> bytes:
        stdin = b"".join(path + b"\0" for path in paths)
        env = {"GIT_LITERAL_PATHSPECS": "0"}  # this command takes paths as they are, and refuses to be told so
        try:
            return await self._git("check-ignore", "-z", "--stdin", stdin=stdin, env=env)
        except GitError:  # it ends with 1 when it ignores none
            return b""

    def _sort(self, paths: Sequence[bytes], links: Iterable[bytes], left_out: list[str]) -> _Changes:
        """Tell what was written from what was removed or may not travel. Raises GitError when it is too much."""
        found = _Changes(left_out=left_out)
        total = 0
        for path in paths:
            size = self._size(path)
            if size is None:
                found.removed.append(path)
            elif size < 0:
                found.left_out.append(f"{quoted(path)} (it cannot be read)")
            elif size > self._limits.size:
                found.left_out.append(f"{quoted(path)} ({size} bytes, the limit is {self._limits.size})")
            else:
                found.written.append(path)
                total += size
        for link in links:
            place = self._work_tree / os.fsdecode(link)
            if place.is_dir() and not place.is_symlink() and any(entry.name != ".git" for entry in place.iterdir()):
                found.nested.append(link)
        if total > self._limits.size * _HASHED_FACTOR:
            raise GitError(
                f"{len(found.written)} changed files have {total} bytes; the limit is {self._limits.size} packed"
            )
        return found

    def _size(self, path: bytes) -> int | None:
        """Return a file's size, -1 if it cannot be read; None when it is not there, or only by way of a link."""
        place = self._work_tree
        *parents, name = os.fsdecode(path).split("/")
        for part in parents:
            place /= part
            if place.is_symlink():
                return None
        try:
            found = (place / name).lstat()
        except OSError:
            return None
        if stat.S_ISLNK(found.st_mode):
            return found.st_size
        if not stat.S_ISREG(found.st_mode):
            return None
        return found.st_size if os.access(place / name, os.R_OK) else -1

    async def write(self, heads: Sequence[tuple[str, str]], bundle: Path, *, whole: bool) -> None:
        """Write the objects of commits, each with the name of a ref, that the base does not have.

        Without any the file is empty. Raises GitError when it is too large.
        """
        with bundle.open("wb") as file:
            if not heads:
                return
            write_header(file, heads, () if whole else (self._base,))
            file.flush()
            wanted = "".join(f"{commit}\n" for commit, _ in heads) + ("" if whole else f"^{self._base}\n")
            await git(
                *EXPORT_PACK,
                git_dir=self._git_dir,
                env=self._env,
                stdin=wanted.encode(),
                stdout=file,
            )
            size = os.fstat(file.fileno()).st_size
        if size > self._limits.size:
            raise GitError(
                f"what was done takes {size} bytes packed; the limit is {self._limits.size} (ADO_FILE_BYTES)"
            )
        await asyncio.to_thread(check_bundle, bundle, PackLimits.of_result(self._limits.size))


def _names(output: bytes) -> list[bytes]:
    return [name for name in output.split(b"\0") if name]


def _is_secret(path: bytes) -> bool:
    """Whether a new file's name says that it must stay behind."""
    return looks_secret(os.fsdecode(path))


def _counts(numstat: bytes) -> tuple[int, int, int]:
    files = added = removed = 0
    for entry in _names(numstat):
        plus, minus, _ = entry.split(b"\t", 2)
        files += 1
        added += int(plus) if plus.isdigit() else 0
        removed += int(minus) if minus.isdigit() else 0
    return files, added, removed


def _content(place: Path) -> Iterator[bytes]:
    """Yield a file's content, or where a link leads."""
    if place.is_symlink():
        yield os.fsencode(place.readlink())
        return
    with os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _empty_directories(top: Path, known: set[bytes], removed: Iterable[bytes]) -> list[bytes]:
    """Return empty directories that were not known before, some of them when there are many."""
    emptied = {os.path.dirname(path) for path in removed}  # noqa: PTH120 - bytes
    root = os.fsencode(top)
    found: list[bytes] = []
    for directory, below, files in os.walk(root):
        path = os.path.relpath(directory, root)
        if path != b"." and b".git" in (*below, *files):
            below.clear()  # a repository of its own
        elif path == b".":
            below[:] = [name for name in below if name != b".git"]
        elif not below and not files and path not in known and path not in emptied:
            found.append(path)
            if len(found) == _MOST_EMPTY:
                break
    return found
