"""Collects an agent's work outside its working tree: other branches, tags, stashes, reset commits, nested repositories.

Each becomes a commit in the bundle of the result. Refs are read as plain files (``worker.repository.refs``). A new
repository copies the objects and checks them, so nothing of the agent's repository is run or trusted. What cannot be
returned is listed with the reason.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.core.git import EXPORT_PACK, IMPORT_PACK, GitError, clean_name, quoted
from worker.repository.git import git
from worker.repository.refs import Ref, is_closed, read_refs
from worker.repository.snapshot import SnapshotLimits, Snapshotter

_DESCRIPTIONS_BYTES = 24 * 1024  # for all descriptions, which are sent with the result
_DESCRIPTION_BYTES = 160
_PIECE_BYTES = 1024 * 1024
_TEXT = {"branch": "branch {}", "tag": "tag {}", "stash": "stash {}", "commit": "commit {}, which no branch has"}


@dataclass(frozen=True, slots=True)
class ExtraCommit:
    """One commit beside the result; ``ref`` is unique among them and valid in the name of a ref."""

    kind: str
    ref: str
    text: str
    commit: str
    path: str = ""
    """The directory of a nested repository, as git quotes it."""


@dataclass(slots=True)
class ExtraCommits:
    """The commits that are returned, and what is missing, with the reasons."""

    commits: list[ExtraCommit] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def heads(self) -> list[tuple[str, str]]:
        """Return the commits and their names in a bundle."""
        return [(extra.commit, f"refs/ado/{extra.ref}") for extra in self.commits]

    def drop(self, why: str) -> None:
        """Return none of them, for a reason."""
        self.missing += [f"{extra.text} ({why})" for extra in self.commits]
        self.commits.clear()


class Collector:
    """Collects the work beside one snapshot; ``git_dir`` is the snapshot's repository."""

    def __init__(self, git_dir: Path, work_tree: Path, store: Path, base: str, limits: SnapshotLimits) -> None:
        self._git_dir = git_dir
        self._work_tree = work_tree
        self._store = store
        self._base = base
        self._limits = limits
        self._env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(store / "objects")}
        self._extras = ExtraCommits()
        self._bytes_left = _DESCRIPTIONS_BYTES

    async def collect(self, nested: Sequence[bytes], author: str) -> ExtraCommits:
        """Return everything; ``nested`` are the directories of nested repositories and submodules."""
        refs = await asyncio.to_thread(read_refs, self._work_tree / ".git")
        seen = [self._base]
        if refs.head and await self._exists(refs.head):
            seen.append(refs.head)
        for ref in refs.others:
            if await self._collect_ref(ref, seen):
                seen.append(ref.commit)
        for path in nested:
            await self._collect_nested(path, author)
        return self._extras

    def _agent_environment(self) -> dict[str, str]:
        """Return the environment in which git can read the agent's objects."""
        objects = self._work_tree / ".git" / "objects"
        places = [self._store / "objects", *([objects] if is_closed(objects, self._store) else [])]
        return {"GIT_ALTERNATE_OBJECT_DIRECTORIES": os.pathsep.join(map(str, places))}

    async def _exists(self, name: str) -> bool:
        try:
            await git("cat-file", "-e", f"{name}^{{commit}}", git_dir=self._git_dir, env=self._agent_environment())
        except GitError:
            return False
        return True

    async def _collect_ref(self, ref: Ref, seen: Sequence[str]) -> bool:
        """Add a ref if it has commits that ``seen`` lacks; return whether it has."""
        text = _TEXT[ref.kind].format(quoted(ref.name))
        try:
            command = ("rev-parse", "--verify", "--quiet", f"{ref.commit}^{{commit}}")
            commit = (await self._read(*command)).decode().strip()
            known = [f"^{name}" for name in seen]
            if not await self._read("rev-list", "--max-count=1", commit, *known):
                return False
            objects = ("rev-list", "--objects", "--no-object-names", commit, f"^{self._base}")
            await self._check(await self._read(*objects))
            await self._copy(commit)
            self._add(ExtraCommit(ref.kind, self._unique(ref.kind, ref.name), text, commit))
        except GitError as error:
            if ref.kind != "commit":  # a log may name commits that git has removed
                self._extras.missing.append(f"{text} ({error})")
            return False
        return True

    def _add(self, extra: ExtraCommit) -> None:
        """Add a commit. Raises GitError if the descriptions become too large."""
        self._bytes_left -= _DESCRIPTION_BYTES + len(f"{extra.ref}{extra.text}{extra.path}".encode()) * 2
        if self._bytes_left < 0:
            raise GitError("there are too many")
        self._extras.commits.append(extra)

    async def _read(self, *words: str, stdin: bytes | None = None) -> bytes:
        return await git(*words, git_dir=self._git_dir, env=self._agent_environment(), stdin=stdin)

    async def _check(self, objects: bytes) -> None:
        """Raise GitError if objects are too large together, or contain a secret."""
        sizes = await self._read("cat-file", "--batch-check=%(objectsize)", stdin=objects)
        size = sum(int(line) for line in sizes.split() if line.isdigit())
        if size > self._limits.size:
            raise GitError(f"it has {size} bytes, the limit is {self._limits.size}")
        with tempfile.TemporaryFile(dir=self._git_dir) as file:
            await git(
                "cat-file", "--batch", git_dir=self._git_dir, env=self._agent_environment(), stdin=objects, stdout=file
            )
            file.seek(0)
            pieces = iter(lambda: file.read(_PIECE_BYTES), b"")
            if await asyncio.to_thread(self._limits.secrets.known_in, pieces):
                raise GitError("it contains a secret of the worker")

    async def _copy(self, commit: str) -> None:
        """Copy a commit's objects into the snapshot's repository, with the checks of every import."""
        commits = f"{commit}\n^{self._base}\n".encode()
        with tempfile.TemporaryFile(dir=self._git_dir) as pack:
            await git(*EXPORT_PACK, git_dir=self._git_dir, env=self._agent_environment(), stdin=commits, stdout=pack)
            pack.seek(0)
            os.lseek(pack.fileno(), 0, os.SEEK_SET)
            await git(*IMPORT_PACK, git_dir=self._git_dir, env=self._env, stdin=pack)

    async def _collect_nested(self, path: bytes, author: str) -> None:
        """Commit the files of a nested repository, at their path in the base."""
        name = os.fsdecode(path)
        text = f"files of {quoted(path)}/"
        try:
            inner = await self._commit_nested(name, author, text)
            self._extras.missing += [f"in {quoted(path)}/: {left}" for left in inner.left_out]
            if not inner.commit:
                raise GitError("there are none")
            self._add(ExtraCommit("nested", self._unique("nested", path), text, inner.commit, quoted(path)))
        except GitError as error:
            self._extras.missing.append(f"{text} ({error})")

    async def _commit_nested(self, name: str, author: str, text: str) -> _Nested:
        empty = (await self._own("hash-object", "-t", "tree", "-w", "--stdin", stdin=b"")).strip().decode()
        root = (await self._own("commit-tree", empty, stdin=b"nothing\n")).strip().decode()
        if self._limits.secrets.known_in([os.fsencode(name)]):
            raise GitError("it contains a secret of the worker")
        files = Snapshotter(self._git_dir, self._work_tree / name, self._store, root, self._limits)
        snapshot = await files.commit("files\n", author)
        if not snapshot.changed:
            return _Nested("", snapshot.left_out)
        await self._own("read-tree", self._base)
        await self._own("update-index", "--force-remove", "-z", "--stdin", stdin=os.fsencode(name) + b"\0")
        await self._own("read-tree", f"--prefix={name}/", snapshot.commit)
        tree = (await self._own("write-tree")).strip().decode()
        message = f"{text.capitalize()}\n".encode("utf-8", "replace")
        made = await self._own("commit-tree", tree, "-p", self._base, stdin=message)
        return _Nested(made.strip().decode(), snapshot.left_out)

    async def _own(self, *words: str, stdin: bytes | None = None) -> bytes:
        return await git(*words, git_dir=self._git_dir, work_tree=self._work_tree, env=self._env, stdin=stdin)

    def _unique(self, kind: str, name: bytes) -> str:
        """Return a valid name of a ref that is not in use."""
        used = {extra.ref for extra in self._extras.commits}
        text = re.sub(r"[^A-Za-z0-9_./-]+", "-", clean_name(name.decode("utf-8", "replace")))[:80]
        ref = f"{kind}/{clean_name(text)}"
        return next(made for made in _numbered(ref) if made not in used and not _clashes(made, used))


@dataclass(frozen=True, slots=True)
class _Nested:
    commit: str
    left_out: Sequence[str]


def _numbered(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def _clashes(ref: str, used: set[str]) -> bool:
    """Whether a ref would be a directory of another, or another a directory of it."""
    return any(other.startswith(f"{ref}/") or ref.startswith(f"{other}/") for other in used)
