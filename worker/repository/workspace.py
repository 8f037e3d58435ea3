"""The repository on the worker: checked out for the agent, and turned into snapshots without trusting the agent.

``store`` is a bare repository beside the agent's directory. It is filled once, with objects that git has checked, and
then only read. The agent's directory is a repository of its own that borrows the store's objects, so the agent can use
git. Nothing of that repository is trusted: its configuration, hooks and index are never read, its refs are read as
plain files, and its objects are checked (``worker.repository.other_refs``). Each snapshot is made from the files alone,
by a new repository with an unpredictable name. Agent and worker may have the same user, so an agent can overwrite the
store and so break its own result. The last snapshot is taken after all processes of the agent have ended, and makes a
new store if the old one is broken.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.core.git import GitError, clean_name, host_of, public_url
from app.core.pack_check import PackLimits
from worker.output.masking import NO_SECRETS
from worker.processes.directories import AttemptDirectory
from worker.processes.removal import temporary_directory
from worker.repository.brought import lay_out
from worker.repository.git import check_version, git, import_bundle
from worker.repository.other_refs import Collector, ExtraCommits
from worker.repository.snapshot import SnapshotLimits, Snapshotter, TreeSnapshot
from worker.repository.transfers import AttemptFiles

_EMPTY_TIME = "1970-01-01T00:00:00Z"
_FETCH = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
_NAMES_BYTES = 64 * 1024 * 1024  # a million files with paths of 64 bytes


@dataclass(frozen=True, slots=True)
class Base:
    """The commit that a job starts from; ``commit`` is None for an empty directory, and where it follows a branch."""

    commit: str | None
    file_id: str | None
    branch: str
    shallow: tuple[str, ...]
    remote: Mapping[str, Any] | None
    push: bool
    """Whether the result is pushed to the remote as well."""
    directory: str = ""
    """Where the agent starts, from the repository's top."""
    brought: str | None = None
    """A commit whose files are added to the directory, and are no part of the result."""

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
            workspace.get("brought"),
        )

    @property
    def follows(self) -> bool:
        """Whether the job starts from the newest commit of the remote's branch."""
        return self.commit is None and self.remote is not None

    @property
    def is_empty(self) -> bool:
        """Whether the job starts in an empty directory."""
        return self.commit is None and self.remote is None


class JobWorkspace:
    """The repository of one attempt."""

    def __init__(
        self, attempt_dir: AttemptDirectory, base: Base, files: AttemptFiles, task_id: str, hosts: frozenset[str]
    ) -> None:
        self._hosts = hosts
        self._attempt_dir = attempt_dir
        self._base = base
        self._files = files
        self._task_id = task_id
        self._store = attempt_dir.base / "store"
        self._commit = ""
        self.secrets = NO_SECRETS
        """Files that hold one of these are not part of the result."""
        self.extras = ExtraCommits()
        """The commits beside the last snapshot."""
        self._brought: frozenset[bytes] = frozenset()
        self.patch: bytes | None = None
        """The changes of the last snapshot for people to read; None if they are too large."""

    async def fill(self) -> None:
        """Fill the store. Raises GitError, LeaseLost, CallError."""
        await check_version()
        await self._fill(self._store)

    async def check_out(self, tree: Path | None = None) -> None:
        """Make the agent's directory: the base's files, or those of a snapshot in a bundle. Raises GitError."""
        commit = self._commit
        if tree is not None:
            commit = await import_bundle(self._store, tree, PackLimits.of_result(self._files.limit))
            if self._base.follows:  # its files belong to the commit from which the earlier attempt started
                parent = await git("rev-parse", "--verify", "--quiet", f"{commit}^", git_dir=self._store)
                self._commit = parent.strip().decode()
        await self._check_out_tree(commit)
        if self._base.brought:
            async with temporary_directory(self._attempt_dir.base, "git-") as git_dir:
                await self._init(git_dir, "--bare")
                job_dir = self._attempt_dir.job_dir
                self._brought = await lay_out(self._base.brought, self._store, git_dir, job_dir)

    def start_directory(self) -> Path:
        """Return where the agent starts, and make it if needed; the top if the path leads outside."""
        top = self._attempt_dir.job_dir
        directory = top / self._base.directory.lstrip("/")
        if not directory.resolve().is_relative_to(top.resolve()):
            return top
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:  # a file has this name, or a part of it is too long
            return top
        return directory

    async def _fill(self, store: Path) -> None:
        """Make the store; its base commit is ``self._commit``."""
        base = self._base
        await self._init(store, "--bare")
        if base.commit is None:
            self._commit = await self._follow(store, base.remote) if base.remote else await _empty_commit(store)
            return
        if base.remote is not None:
            await self._fetch_remote(store, base.remote)
        bundle = store / "base.bundle"
        await self._fetch_base(bundle)
        await import_bundle(store, bundle, PackLimits.of_history(self._files.limit))
        bundle.unlink()
        kind = (await git("cat-file", "-t", base.commit, git_dir=store)).strip()
        if kind != b"commit":
            raise GitError(f"{base.commit} is no commit")
        await check_entries(base.commit, store)
        self._commit = base.commit

    async def _follow(self, store: Path, remote: Mapping[str, Any]) -> str:
        """Fetch the remote's branch; return where the job starts: at the same commit as before, else the newest."""
        url, name = self._allowed(remote), "refs/ado/base"
        await git("fetch", *_FETCH, url, f"{remote['ref']}:{name}", git_dir=store, remote=True)
        wanted = self._commit or name
        commit = await git("rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}", git_dir=store)
        await check_entries(commit.strip().decode(), store)
        return commit.strip().decode()

    async def _fetch_base(self, bundle: Path) -> None:
        matches = [file for file in await self._files.list(self._task_id) if file["fileId"] == self._base.file_id]
        if not matches:
            raise GitError("the file with the commits no longer exists")
        try:
            await self._files.fetch(matches[0], bundle)
        except ValueError as error:
            raise GitError(str(error)) from error

    async def _fetch_remote(self, store: Path, remote: Mapping[str, Any]) -> None:
        """Fetch the commits that the bundle lacks: by id, or by branch from hosts that refuse ids."""
        url = self._allowed(remote)
        sources = [remote["commit"], *([remote["ref"]] if remote.get("ref") else [])]
        problem = ""
        for source in sources:
            try:
                await git("fetch", *_FETCH, url, f"{source}:refs/ado/{source}", git_dir=store, remote=True)
                await git("cat-file", "-e", f"{remote['commit']}^{{commit}}", git_dir=store)
            except GitError as error:
                problem = problem or str(error)
            else:
                return
        raise GitError(f"{problem} (commit {remote['commit'][:12]} is wanted from {url})")

    def _allowed(self, remote: Mapping[str, Any]) -> str:
        url = public_url(remote["url"])
        if url is None or host_of(url) not in self._hosts:
            raise GitError(f"this worker may not use {remote['url']}: its host is not in ADO_GIT_HOSTS")
        return url

    async def push(self, bundle: Path, branch: str) -> str:
        """Push a snapshot to a branch of the remote; return the remote's URL. Raises GitError."""
        if self._base.remote is None:
            raise GitError("there is no remote to push to")
        url = self._allowed(self._base.remote)
        async with temporary_directory(self._attempt_dir.base, "git-") as git_dir:
            await self._init(git_dir, "--bare")
            env = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self._store / "objects")}
            commit = await import_bundle(git_dir, bundle, PackLimits.of_result(self._files.limit), env)
            target = f"{commit}:refs/heads/{branch}"
            await git("push", "--quiet", "--no-verify", url, target, git_dir=git_dir, env=env, remote=True)
        return url

    async def _init(self, git_dir: Path, *options: str) -> None:
        length = len(self._base.commit or "")
        kind = "--object-format=sha256" if length == 64 else "--object-format=sha1"
        await git("init", "--quiet", "--template=", kind, *options, git_dir=git_dir)
        if self._base.shallow:
            (git_dir / "shallow").write_text("".join(f"{commit}\n" for commit in self._base.shallow), "ascii")

    async def _check_out_tree(self, tree: str) -> None:
        """Make the agent's repository, at the base commit, with the files of ``tree``."""
        git_dir, work_tree = self._attempt_dir.job_dir / ".git", self._attempt_dir.job_dir
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

    async def snapshot(
        self, bundle: Path, ref: str, message: str, author: str, *, extras: bool = False
    ) -> TreeSnapshot:
        """Commit the agent's directory and write it to ``bundle``, with what is beside it if asked. Raises GitError."""
        async with temporary_directory(self._attempt_dir.base, "git-") as git_dir:
            await self._init(git_dir, "--bare")
            limits = SnapshotLimits(self._files.limit, self.secrets, self._base.directory, self._brought)
            snapshotter = Snapshotter(git_dir, self._attempt_dir.job_dir, self._store, self._commit, limits)
            snapshot = await snapshotter.commit(message, author)
            heads = [(snapshot.commit, ref)] if snapshot.changed else []
            whole = self._base.is_empty
            if not extras:
                await snapshotter.write(heads, bundle, whole=whole)
                return snapshot
            collector = Collector(git_dir, self._attempt_dir.job_dir, self._store, self._commit, limits)
            self.extras = await collector.collect(snapshot.nested, author)
            self.patch = await snapshotter.patch(snapshot)
            try:
                await snapshotter.write([*heads, *self.extras.heads()], bundle, whole=whole)
            except GitError as error:
                if not self.extras.commits:
                    raise
                self.extras.drop(str(error))
                await snapshotter.write(heads, bundle, whole=whole)
        return replace(snapshot, left_out=(*snapshot.left_out, *self.extras.missing))

    async def last_snapshot(self, bundle: Path, ref: str, message: str, author: str) -> TreeSnapshot:
        """Take the last snapshot, after the agent's end; make a new store if the old one is broken."""
        try:
            return await self.snapshot(bundle, ref, message, author, extras=True)
        except GitError:
            self._store = self._attempt_dir.base / f"store-{os.urandom(8).hex()}"
            await self._fill(self._store)
            return await self.snapshot(bundle, ref, message, author, extras=True)


async def check_entries(commit: str, git_dir: Path) -> None:
    """Raise GitError for a commit with too many files: a few small trees can contain any number of files."""
    await git("ls-tree", "-r", "-z", "--name-only", commit, git_dir=git_dir, limit=_NAMES_BYTES)


async def _empty_commit(store: Path) -> str:
    tree = (await git("mktree", git_dir=store, stdin=b"")).strip().decode()
    dates = {"GIT_AUTHOR_DATE": _EMPTY_TIME, "GIT_COMMITTER_DATE": _EMPTY_TIME}
    made = await git("commit-tree", tree, git_dir=store, stdin=b"an empty directory\n", env=dates)
    return made.strip().decode()
