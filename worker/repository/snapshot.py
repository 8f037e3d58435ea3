"""Makes a commit of an agent's directory, in a new repository and from the files alone.

The snapshot lists what it leaves out: new files that look like secrets, files that contain a secret of the worker,
empty directories, and files that cannot be read or are too large. It lists nested repositories and submodules
separately (``worker.repository.other_refs`` commits them). Ignored files are not part of it.
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
from worker.repository.git import OUTPUT_BYTES, git

_HASHED_FACTOR = 4  # times the limit: files of this size may still fit once they are compressed
_PIECE_BYTES = 1024 * 1024
_MOST_EMPTY = 100
PATCH_BYTES = 4 * 1024 * 1024
"""A larger patch is not for people to read."""
_PATCH_FILE_BYTES = 1024 * 1024
_DIFF_FOR_PEOPLE = (
    *("-c", f"core.bigFileThreshold={_PATCH_FILE_BYTES}", "diff-tree", "-r", "-p", "-M", "--no-color"),
    *("--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/"),
)


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """Which files may be in a snapshot: files up to a size in bytes, without secrets."""

    size: int
    secrets: Secrets = NO_SECRETS
    start: str = ""
    """The directory that the worker made for the agent to start in."""
    brought: frozenset[bytes] = frozenset()
    """Files that came with the task and are no part of any snapshot."""


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
    """Directories of nested repositories and submodules, which are no part of it."""

    @property
    def changed(self) -> bool:
        """Whether anything differs from the base."""
        return self.commit != self.base


@dataclass(slots=True)
class _ChangedFiles:
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

    async def _git(
        self, *words: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None, limit: int = OUTPUT_BYTES
    ) -> bytes:
        variables = {**self._env, **(env or {})}
        return await git(
            *words, git_dir=self._git_dir, work_tree=self._work_tree, env=variables, stdin=stdin, limit=limit
        )

    async def commit(self, message: str, author: str) -> TreeSnapshot:
        """Commit the directory on top of the base; return the base itself if nothing has changed."""
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

    async def patch(self, snapshot: TreeSnapshot) -> bytes | None:
        """Return a snapshot's changes as git's patch for people to read; None if it is too large for that.

        Attributes and settings of the repository choose no programs here. Large files count as binary.
        """
        if not snapshot.changed:
            return b""
        try:
            return await self._git(*_DIFF_FOR_PEOPLE, snapshot.base, snapshot.commit, limit=PATCH_BYTES)
        except GitError:
            return None

    async def _changes(self) -> _ChangedFiles:
        """Return the differences from the base."""
        staged = await self._git("ls-files", "-z", "--stage")
        modified = await self._git("diff-files", "-z", "--name-only", "--ignore-submodules=all")
        others = await self._git("ls-files", "-z", "--others", "--exclude-standard")
        changes, links = await asyncio.to_thread(self._classify, staged, modified, others)
        await self._leave_out_secrets(changes)
        await self._report_empty_directories(changes, links)
        return changes

    def _classify(self, staged: bytes, modified: bytes, others: bytes) -> tuple[_ChangedFiles, set[bytes]]:
        """Return the changes in git's lists, and the submodules. Raises GitError."""
        links = {entry.partition(b"\t")[2] for entry in staged.split(b"\0") if entry.startswith(b"160000 ")}
        paths = [path for path in _names(modified) if path not in links]
        left_out, nested = [], []
        for path in _names(others):
            if path in self._limits.brought:
                continue
            if path.endswith(b"/"):
                nested.append(path.rstrip(b"/"))
            elif looks_secret(os.fsdecode(path)):
                left_out.append(f"{quoted(path)} (looks like a secret)")
            else:
                paths.append(path)
        changes = self._sort_paths(paths, links, left_out)
        changes.nested += nested
        return changes, links

    async def _leave_out_secrets(self, changes: _ChangedFiles) -> None:
        """Leave out files with a secret of the worker, unless the same file in the base has one."""
        suspects = await asyncio.to_thread(self._with_secrets, changes.written)
        if left := {path for path in suspects if not await self._had_secret(path)}:
            changes.written = [path for path in changes.written if path not in left]
            changes.left_out += [
                f"{quoted(path)} (contains a secret of the worker)" for path in suspects if path in left
            ]

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

    async def _report_empty_directories(self, changes: _ChangedFiles, links: Iterable[bytes]) -> None:
        known = {*links, os.fsencode(self._limits.start)}
        empty = await asyncio.to_thread(_empty_directories, self._work_tree, known, changes.removed)
        if empty:
            ignored = set(_names(await self._ignored(empty)))
            changes.left_out += [f"{quoted(path)}/ (an empty directory)" for path in empty if path not in ignored]

    async def _ignored(self, paths: Sequence[bytes]) -> bytes:
        stdin = b"".join(path + b"\0" for path in paths)
        env = {
            "GIT_LITERAL_PATHSPECS": "0"
        }  # check-ignore takes literal paths anyway, and fails if the variable asks for them
        try:
            return await self._git("check-ignore", "-z", "--stdin", stdin=stdin, env=env)
        except GitError:  # it exits with 1 if it ignores no path
            return b""

    def _sort_paths(self, paths: Sequence[bytes], links: Iterable[bytes], left_out: list[str]) -> _ChangedFiles:
        """Divide paths into written, removed and left out ones. Raises GitError if all files together are too large."""
        changes = _ChangedFiles(left_out=left_out)
        total = 0
        for path in paths:
            size = self._size(path)
            if size is None:
                changes.removed.append(path)
            elif size < 0:
                changes.left_out.append(f"{quoted(path)} (it cannot be read)")
            elif size > self._limits.size:
                changes.left_out.append(f"{quoted(path)} ({size} bytes, the limit is {self._limits.size})")
            else:
                changes.written.append(path)
                total += size
        for link in links:
            directory = self._work_tree / os.fsdecode(link)
            if (
                directory.is_dir()
                and not directory.is_symlink()
                and any(entry.name != ".git" for entry in directory.iterdir())
            ):
                changes.nested.append(link)
        if total > self._limits.size * _HASHED_FACTOR:
            raise GitError(
                f"{len(changes.written)} changed files have {total} bytes; the limit is {self._limits.size} packed"
            )
        return changes

    def _size(self, path: bytes) -> int | None:
        """Return a file's size, -1 if it cannot be read; None if it does not exist, or is behind a link."""
        parent = self._work_tree
        *parents, name = os.fsdecode(path).split("/")
        for part in parents:
            parent /= part
            if parent.is_symlink():
                return None
        try:
            status = (parent / name).lstat()
        except OSError:
            return None
        if stat.S_ISLNK(status.st_mode):
            return status.st_size
        if not stat.S_ISREG(status.st_mode):
            return None
        return status.st_size if os.access(parent / name, os.R_OK) else -1

    async def write(self, heads: Sequence[tuple[str, str]], bundle: Path, *, whole: bool) -> None:
        """Write a bundle of commits, each with the name of a ref, without the objects of the base.

        Without commits the file is empty. Raises GitError if the bundle is too large.
        """
        with bundle.open("wb") as file:
            if not heads:
                return
            write_header(file, heads, () if whole else (self._base,))
            file.flush()
            commits = "".join(f"{commit}\n" for commit, _ in heads) + ("" if whole else f"^{self._base}\n")
            await git(
                *EXPORT_PACK,
                git_dir=self._git_dir,
                env=self._env,
                stdin=commits.encode(),
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


def _counts(numstat: bytes) -> tuple[int, int, int]:
    files = added = removed = 0
    for entry in _names(numstat):
        plus, minus, _ = entry.split(b"\t", 2)
        files += 1
        added += int(plus) if plus.isdigit() else 0
        removed += int(minus) if minus.isdigit() else 0
    return files, added, removed


def _content(path: Path) -> Iterator[bytes]:
    """Yield a file's content, or the target of a link."""
    if path.is_symlink():
        yield os.fsencode(path.readlink())
        return
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _empty_directories(top: Path, known: set[bytes], removed: Iterable[bytes]) -> list[bytes]:
    """Return new empty directories, at most ``_MOST_EMPTY``."""
    emptied = {os.path.dirname(path) for path in removed}  # noqa: PTH120 - bytes
    root = os.fsencode(top)
    empty: list[bytes] = []
    for directory, below, files in os.walk(root):
        path = os.path.relpath(directory, root)
        if path != b"." and b".git" in (*below, *files):
            below.clear()  # a nested repository
        elif path == b".":
            below[:] = [name for name in below if name != b".git"]
        elif not below and not files and path not in known and path not in emptied:
            empty.append(path)
            if len(empty) == _MOST_EMPTY:
                break
    return empty
