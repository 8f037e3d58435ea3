"""The repository on the worker: laid out for the agent, and what the agent did told apart from what it may not do.

``store`` is a bare repository beside the agent's directory; it is filled once, with objects that git has checked, and
only read afterwards. The agent's directory is a repository of its own that borrows the store's objects, so that the
agent's git works. Nothing of that repository is trusted: its configuration, hooks, index, refs and objects are never
read here. A snapshot is made with a repository that is made anew for it, under a name nobody knows before, from the
files of the directory alone. Agent and worker have the same user, so an agent could overwrite the store; it gets an
unusable result for it, and the last snapshot, after the agent and all of its processes have ended, fetches the store
anew when it turns out broken.

What is left out of a snapshot is told: files that look like secrets and are new, repositories inside the repository,
submodules, and files larger than may travel. Ignored files are not part of it.
"""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.git import GitError, clean_name, host_of, looks_secret, public_url, quoted, read_header, write_header
from worker.directories import Place
from worker.files import Files
from worker.git import check_version, git

_EMPTY_TIME = "1970-01-01T00:00:00Z"
_HASHED_FACTOR = 4  # so many times the limit is hashed at most: what is packed is compressed


@dataclass(frozen=True, slots=True)
class Base:
    """What a job starts from; ``commit`` is None for an empty directory."""

    commit: str | None
    file_id: str | None
    branch: str
    shallow: tuple[str, ...]
    remote: Mapping[str, Any] | None
    push: bool
    """Whether the result is pushed to the remote as well."""
    directory: str = ""
    """Where the agent starts, from the repository's top."""

    @classmethod
    def of(cls, workspace: Mapping[str, Any]) -> Base:
        """Read the workspace of a claimed job."""
        return cls(
            workspace.get("commit"),
            workspace.get("fileId"),
            clean_name(workspace.get("branch") or "main"),
            tuple(workspace.get("shallow") or ()),
            workspace.get("remote"),
            bool(workspace.get("push")),
            workspace.get("directory") or "",
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A commit of the agent's directory on top of the base, and what it leaves out."""

    commit: str
    base: str
    files: int = 0
    added: int = 0
    removed: int = 0
    left_out: Sequence[str] = ()

    @property
    def changed(self) -> bool:
        """Whether anything differs from the base."""
        return self.commit != self.base


@dataclass(slots=True)
class _Changes:
    written: list[bytes] = field(default_factory=list)
    removed: list[bytes] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Workspace:
    """The repository of one attempt."""

    def __init__(self, where: Place, base: Base, files: Files, task_id: str, hosts: frozenset[str]) -> None:
        self._hosts = hosts
        self._where = where
        self._base = base
        self._files = files
        self._task_id = task_id
        self._store = where.base / "store"
        self._commit = ""

    async def fill(self) -> None:
        """Fill the store. Raises GitError, LeaseLost, CallError."""
        await check_version()
        await self._fill(self._store)

    async def lay(self, tree: Path | None = None) -> None:
        """Make the agent's directory: the base's files, or those of a snapshot in a bundle. Raises GitError."""
        commit = self._commit
        if tree is not None:
            commit = await unbundle(self._store, tree)
        await self._lay_tree(commit)

    def start_directory(self) -> Path:
        """Return where the agent starts, made if the commit does not have it; the top where it would lead out."""
        top = self._where.directory
        wanted = top / self._base.directory.lstrip("/")
        if not wanted.resolve().is_relative_to(top.resolve()):
            return top
        try:
            wanted.mkdir(parents=True, exist_ok=True)
        except OSError:  # a file is there, or a part of the name is too long
            return top
        return wanted

    async def _fill(self, store: Path) -> None:
        """Make the store; its base commit is ``self._commit``."""
        base = self._base
        await self._init(store, "--bare")
        if base.commit is None:
            self._commit = await _empty_commit(store)
            return
        if base.remote is not None:
            await self._fetch_remote(store, base.remote)
        bundle = store / "base.bundle"
        await self._fetch_base(bundle)
        await unbundle(store, bundle)
        bundle.unlink()
        kind = (await git("cat-file", "-t", base.commit, git_dir=store)).strip()
        if kind != b"commit":
            raise GitError(f"{base.commit} is no commit")
        self._commit = base.commit

    async def _fetch_base(self, bundle: Path) -> None:
        found = [file for file in await self._files.list(self._task_id) if file["fileId"] == self._base.file_id]
        if not found:
            raise GitError("the file with the commits is not there any more")
        try:
            await self._files.fetch(found[0], bundle)
        except ValueError as error:
            raise GitError(str(error)) from error

    async def _fetch_remote(self, store: Path, remote: Mapping[str, Any]) -> None:
        """Fetch what the bundle leaves out: by its id, or by its branch where the host gives out no other."""
        url = self._allowed(remote)
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        wanted = [remote["commit"], *([remote["ref"]] if remote.get("ref") else [])]
        said = ""
        for source in wanted:
            try:
                await git("fetch", *options, url, f"{source}:refs/ado/{source}", git_dir=store, remote=True)
                await git("cat-file", "-e", f"{remote['commit']}^{{commit}}", git_dir=store)
            except GitError as error:
                said = said or str(error)
            else:
                return
        raise GitError(f"{said} (commit {remote['commit'][:12]} is wanted from {url})")

    def _allowed(self, remote: Mapping[str, Any]) -> str:
        url = public_url(remote["url"])
        if url is None or host_of(url) not in self._hosts:
            raise GitError(f"this worker may not use {remote['url']}: its host is not in ADO_GIT_HOSTS")
        return url

    async def push(self, bundle: Path, branch: str) -> str:
        """Push a snapshot to a branch of the remote; return where. Raises GitError."""
        if self._base.remote is None:
            raise GitError("there is no remote to push to")
        url = self._allowed(self._base.remote)
        with tempfile.TemporaryDirectory(prefix="git-", dir=self._where.base) as name:
            git_dir = Path(name)
            await self._init(git_dir, "--bare")
            env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self._store / "objects")}
            commit = await unbundle(git_dir, bundle, env)
            target = f"{commit}:refs/heads/{branch}"
            await git("push", "--quiet", "--no-verify", url, target, git_dir=git_dir, env=env, remote=True)
        return url

    async def _init(self, git_dir: Path, *options: str) -> None:
        length = len(self._base.commit or "")
        kind = "--object-format=sha256" if length == 64 else "--object-format=sha1"
        await git("init", "--quiet", "--template=", kind, *options, git_dir=git_dir)
        if self._base.shallow:
            (git_dir / "shallow").write_text("".join(f"{commit}\n" for commit in self._base.shallow), "ascii")

    async def _lay_tree(self, tree: str) -> None:
        """Make the agent's own repository, on the base commit, with the files of ``tree``."""
        git_dir, work_tree = self._where.directory / ".git", self._where.directory
        await self._init(git_dir)
        (git_dir / "objects" / "info" / "alternates").write_text(f"{self._store / 'objects'}\n", "utf-8")
        branch = f"refs/heads/{self._base.branch}"
        await git("symbolic-ref", "HEAD", branch, git_dir=git_dir)
        await git("update-ref", branch, self._commit, git_dir=git_dir)
        for name, value in (("user.name", "ado"), ("user.email", "ado@localhost"), ("gc.auto", "0")):
            await git("config", name, value, git_dir=git_dir)
        await git("read-tree", "-u", "--reset", tree, git_dir=git_dir, work_tree=work_tree)
        if tree != self._commit:
            await git("read-tree", "--reset", self._commit, git_dir=git_dir, work_tree=work_tree)

    async def snapshot(self, bundle: Path, ref: str, message: str, author: str) -> Snapshot:
        """Commit the agent's directory and write it to ``bundle``. Raises GitError."""
        with tempfile.TemporaryDirectory(prefix="git-", dir=self._where.base) as name:
            git_dir = Path(name)
            await self._init(git_dir, "--bare")
            taken = _Snapshotter(git_dir, self._where.directory, self._store, self._commit, self._files.limit)
            snapshot = await taken.commit(message, author)
            await taken.write(snapshot, bundle, ref, whole=self._base.commit is None)
        return snapshot

    async def last_snapshot(self, bundle: Path, ref: str, message: str, author: str) -> Snapshot:
        """Do the same once nothing of the agent runs any more, with a new store if the old one was broken."""
        try:
            return await self.snapshot(bundle, ref, message, author)
        except GitError:
            self._store = self._where.base / f"store-{os.urandom(8).hex()}"
            await self._fill(self._store)
            return await self.snapshot(bundle, ref, message, author)


class _Snapshotter:
    """One snapshot, in a repository made for it."""

    def __init__(self, git_dir: Path, work_tree: Path, store: Path, base: str, limit: int) -> None:
        self._git_dir = git_dir
        self._work_tree = work_tree
        self._base = base
        self._limit = limit
        self._env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(store / "objects")}

    async def _git(self, *words: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
        return await git(
            *words, git_dir=self._git_dir, work_tree=self._work_tree, env={**self._env, **(env or {})}, stdin=stdin
        )

    async def commit(self, message: str, author: str) -> Snapshot:
        """Commit the directory on top of the base; nothing changed gives the base itself."""
        await self._git("read-tree", self._base)
        await self._git("update-index", "-q", "--refresh", "--ignore-submodules")
        changes = await self._changes()
        for option, paths in (("--force-remove", changes.removed), ("--replace", changes.written)):
            if paths:
                names = b"".join(path + b"\0" for path in paths)
                await self._git("update-index", "--add", option, "-z", "--stdin", stdin=names)
        tree = (await self._git("write-tree")).strip().decode()
        left_out = tuple(changes.left_out)
        if tree == (await self._git("rev-parse", f"{self._base}^{{tree}}")).strip().decode():
            return Snapshot(self._base, self._base, left_out=left_out)
        env = {"GIT_AUTHOR_NAME": author, "GIT_COMMITTER_NAME": author}
        made = await self._git("commit-tree", tree, "-p", self._base, stdin=message.encode(), env=env)
        commit = made.strip().decode()
        files, added, removed = _counts(
            await self._git("diff-tree", "-r", "-z", "--numstat", "--no-renames", self._base, commit)
        )
        return Snapshot(commit, self._base, files, added, removed, left_out)

    async def _changes(self) -> _Changes:
        """Return what differs from the base and may travel."""
        entries = (await self._git("ls-files", "-z", "--stage")).split(b"\0")
        links = {entry.partition(b"\t")[2] for entry in entries if entry.startswith(b"160000 ")}
        modified = await self._git("diff-files", "-z", "--name-only", "--ignore-submodules=all")
        others = await self._git("ls-files", "-z", "--others", "--exclude-standard")
        left_out = [f"{quoted(path)} ({why})" for path in _names(others) if (why := _unwanted(path))]
        paths = [path for path in _names(modified) if path not in links]
        paths += [path for path in _names(others) if not _unwanted(path)]
        return await asyncio.to_thread(self._sort, paths, links, left_out)

    def _sort(self, paths: Sequence[bytes], links: Iterable[bytes], left_out: list[str]) -> _Changes:
        """Tell what was written from what was removed or may not travel. Raises GitError when it is too much."""
        found = _Changes(left_out=left_out)
        total = 0
        for path in paths:
            size = self._size(path)
            if size is None:
                found.removed.append(path)
            elif size > self._limit:
                found.left_out.append(f"{quoted(path)} ({size} bytes, the limit is {self._limit})")
            else:
                found.written.append(path)
                total += size
        for link in links:
            place = self._work_tree / os.fsdecode(link)
            if place.is_dir() and not place.is_symlink() and any(entry.name != ".git" for entry in place.iterdir()):
                found.left_out.append(f"{quoted(link)}/ (a submodule)")
        if total > self._limit * _HASHED_FACTOR:
            raise GitError(f"{len(found.written)} changed files have {total} bytes; the limit is {self._limit} packed")
        return found

    def _size(self, path: bytes) -> int | None:
        """Return a file's size; None when it is not there, or only by way of a link."""
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
        return None if stat.S_ISDIR(found.st_mode) else found.st_size

    async def write(self, snapshot: Snapshot, bundle: Path, ref: str, *, whole: bool) -> None:
        """Write the objects that the base does not have; an empty file when nothing changed."""
        with bundle.open("wb") as file:
            if not snapshot.changed:
                return
            write_header(file, snapshot.commit, ref, () if whole else (self._base,))
            file.flush()
            wanted = f"{snapshot.commit}\n" + ("" if whole else f"^{self._base}\n")
            await git(
                *("pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset"),
                git_dir=self._git_dir,
                env=self._env,
                stdin=wanted.encode(),
                stdout=file,
            )
            size = os.fstat(file.fileno()).st_size
        if size > self._limit:
            raise GitError(f"what was done takes {size} bytes packed; the limit is {self._limit} (ADO_FILE_BYTES)")


async def unbundle(git_dir: Path, bundle: Path, env: Mapping[str, str] | None = None) -> str:
    """Check a bundle's objects and take them over; return the commit it brings. Raises GitError."""
    with bundle.open("rb") as file:
        header = read_header(file)
        os.lseek(file.fileno(), header.offset, os.SEEK_SET)  # git reads on from the file descriptor
        await git("index-pack", "--strict", "--fix-thin", "--stdin", git_dir=git_dir, stdin=file, env=env)
    if len(header.heads) != 1:
        raise GitError("a bundle of one commit is wanted")
    return header.heads[0][0]


async def _empty_commit(store: Path) -> str:
    tree = (await git("mktree", git_dir=store, stdin=b"")).strip().decode()
    dates = {"GIT_AUTHOR_DATE": _EMPTY_TIME, "GIT_COMMITTER_DATE": _EMPTY_TIME}
    made = await git("commit-tree", tree, git_dir=store, stdin=b"an empty directory\n", env=dates)
    return made.strip().decode()


def _names(output: bytes) -> list[bytes]:
    return [name for name in output.split(b"\0") if name]


def _unwanted(path: bytes) -> str:
    """Say why a new file stays behind; empty when it does not."""
    if path.endswith(b"/"):
        return "a repository of its own"
    return "looks like a secret" if looks_secret(os.fsdecode(path)) else ""


def _counts(numstat: bytes) -> tuple[int, int, int]:
    files = added = removed = 0
    for entry in _names(numstat):
        plus, minus, _ = entry.split(b"\t", 2)
        files += 1
        added += int(plus) if plus.isdigit() else 0
        removed += int(minus) if minus.isdigit() else 0
    return files, added, removed
