"""Sends a commit of the user's repository with a task, as a bundle, and reports what is not sent.

The bundle holds the commit with its history, except what workers fetch themselves from a host that all of them may
use. ``--dirty`` adds a commit of the uncommitted changes on top; it is on no branch. The repository only gets objects,
and a ref under ``refs/ado/`` that keeps them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.core.git import GitError, clean_name, host_of, listed, looks_secret, public_url, quoted, write_header
from app.rpc.client import Transfer
from cli.repository.brought import BroughtFiles
from cli.repository.git import Repository, failed

_LFS = "filter=lfs"

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FetchSource:
    """Where workers fetch from: an address without credentials, and a commit that is there, on a ref."""

    url: str
    commit: str
    ref: str


@dataclass(frozen=True, slots=True)
class OutgoingCommit:
    """A commit that is sent with a task."""

    repository: Repository
    commit: str
    branch: str
    shallow: tuple[str, ...]
    remote: FetchSource | None = None
    brought: BroughtFiles | None = None
    """Ignored files that travel with it."""

    def workspace(self, file_id: str, *, push: bool) -> dict[str, Any]:
        """Return the workspace of tasks.create."""
        workspace: dict[str, Any] = {"fileId": file_id, "commit": self.commit, "branch": self.branch, "push": push}
        if self.shallow:
            workspace["shallow"] = list(self.shallow)
        if directory := self.repository.directory:
            workspace["directory"] = directory
        if self.remote is not None:
            workspace["remote"] = {"url": self.remote.url, "commit": self.remote.commit, "ref": self.remote.ref}
        if self.brought is not None:
            workspace["brought"] = self.brought.commit
        return workspace

    def keep(self, task_id: str) -> None:
        """Keep the commit for as long as the user keeps the ref: a result is compared with it."""
        self.repository.git("update-ref", "--no-deref", "--", f"refs/ado/{task_id}/base", self.commit)


def prepare(repository: Repository, *, dirty: bool, notify: Notify) -> OutgoingCommit:
    """Choose the commit to send, and report what is not sent. Raises CliError."""
    try:
        return _prepare(repository, dirty=dirty, notify=notify)
    except GitError as error:
        raise failed(str(error), "correct what git says, or use --no-repo") from error


def _prepare(repository: Repository, *, dirty: bool, notify: Notify) -> OutgoingCommit:
    head = repository.optional("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None and not dirty:
        raise failed("the repository has no commit yet", "commit something, or add --dirty, or use --no-repo")
    commit = _commit_changes(repository, head, notify) if dirty else head
    assert commit is not None
    if not dirty:
        _notify_of_changes(repository, notify)
    _notify_of_directory(repository, notify)
    _notify_of_missing(repository, commit, notify)
    branch = repository.optional("symbolic-ref", "--quiet", "--short", "HEAD")
    return OutgoingCommit(repository, commit, clean_name(branch or "main"), _shallow(repository))


def _notify_of_directory(repository: Repository, notify: Notify) -> None:
    """Let the job start at the top if the directory's name is not UTF-8: JSON cannot contain it."""
    try:
        repository.directory.encode()
    except UnicodeEncodeError:
        notify(f"the job starts at the top, because {quoted(repository.directory)} is no UTF-8")
        repository.directory = ""


def _notify_of_changes(repository: Repository, notify: Notify) -> None:
    changed = repository.names("status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal")
    if changed:
        names = listed([name[3:] for name in changed])
        notify(f"uncommitted changes stay here: {names}; add --dirty to send them")


def _notify_of_missing(repository: Repository, commit: str, notify: Notify) -> None:
    entries = repository.names("ls-tree", "-r", "-z", "--full-tree", commit)
    links = [entry.partition("\t")[2] for entry in entries if entry.startswith("160000 ")]
    if links:
        notify(f"submodules are not sent: {listed(links)}")
    if pointers := _lfs_files(repository, entries):
        notify(f"{len(pointers)} files are in Git LFS; workers get the pointers, not the content: {listed(pointers)}")


def _lfs_files(repository: Repository, entries: Sequence[str]) -> list[str]:
    paths = [entry.partition("\t")[2] for entry in entries]
    attributes = [path for path in paths if path.rpartition("/")[2] == ".gitattributes"]
    assert repository.work_tree is not None
    texts = [repository.work_tree / path for path in attributes]
    if not any(_LFS in path.read_text("utf-8", "replace") for path in texts if path.is_file()):
        return []
    names = "\0".join(paths).encode("utf-8", "surrogateescape")
    values = repository.names("check-attr", "-z", "--stdin", "filter", stdin=names)
    return [path for path, value in zip(values[::3], values[2::3], strict=True) if value == "lfs"]


def _shallow(repository: Repository) -> tuple[str, ...]:
    path = repository.text("rev-parse", "--git-path", "shallow")
    assert repository.work_tree is not None
    try:
        return tuple((repository.work_tree / path).read_text("ascii").split())
    except FileNotFoundError:
        return ()


def _commit_changes(repository: Repository, head: str | None, notify: Notify) -> str:
    """Commit the working tree on no branch, without ignored files and files that look like secrets."""
    untracked = repository.names("ls-files", "-z", "--others", "--exclude-standard")
    left_out = [name for name in untracked if looks_secret(name) or name.endswith("/")]
    if left_out:
        notify(f"not sent, because it looks like a secret or is a repository of its own: {listed(left_out)}")
    sent = [name for name in untracked if name not in set(left_out)]
    with _index_copy(repository) as env:
        repository.git("add", "--update", env=env)
        if sent:
            names = b"".join(os.fsencode(name) + b"\0" for name in sent)
            repository.git("add", "--pathspec-from-file=-", "--pathspec-file-nul", stdin=names, env=env)
        tree = repository.git("write-tree", env=env).decode().strip()
    if head is not None and tree == repository.text("rev-parse", f"{head}^{{tree}}"):
        return head
    parent = ["-p", head] if head is not None else []
    who = {"GIT_AUTHOR_NAME": "ado", "GIT_AUTHOR_EMAIL": "ado@localhost"}
    who |= {"GIT_COMMITTER_NAME": "ado", "GIT_COMMITTER_EMAIL": "ado@localhost"}
    made = repository.git("commit-tree", tree, *parent, stdin=b"Uncommitted changes\n", env=who)
    return made.decode().strip()


@contextmanager
def _index_copy(repository: Repository) -> Iterator[dict[str, str]]:
    """Yield the environment in which git uses a copy of the index."""
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        copy = Path(name) / "index"
        repository.copy_index(copy)
        yield {"GIT_INDEX_FILE": str(copy)}


def fetchable(outgoing: OutgoingCommit, hosts: frozenset[str]) -> OutgoingCommit:
    """Let workers fetch what is already pushed, if all of them may use its host."""
    repository = outgoing.repository
    upstream = repository.optional("rev-parse", "--symbolic-full-name", "@{upstream}")
    ref = upstream or repository.optional("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD")
    if not hosts or outgoing.shallow or ref is None or not ref.startswith("refs/remotes/"):
        return outgoing
    name, _, branch = ref.removeprefix("refs/remotes/").partition("/")
    url = public_url(repository.optional("remote", "get-url", name) or "")
    pushed = repository.optional("merge-base", outgoing.commit, ref)
    if url is None or host_of(url) not in hosts or pushed is None:
        return outgoing
    return replace(outgoing, remote=FetchSource(url, pushed, f"refs/heads/{branch}"))


def send(outgoing: OutgoingCommit, transfer: Transfer) -> str:
    """Send the bundle; return the id of its file. Raises CliError, CallError, NoAnswer."""
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        bundle = Path(name) / "base.bundle"
        try:
            pack(outgoing, bundle)
        except GitError as error:
            raise failed(str(error), "correct what git says, or use --no-repo") from error
        return transfer.send(bundle, kind="base")


def pack(outgoing: OutgoingCommit, bundle: Path) -> None:
    """Write the bundle of the commit, without the commits that workers fetch themselves. Raises GitError."""
    known = (outgoing.remote.commit,) if outgoing.remote else ()
    heads, env = [(outgoing.commit, "refs/heads/ado/base")], {}
    if brought := outgoing.brought:
        heads.append((brought.commit, "refs/heads/ado/brought"))
        env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(brought.objects)
    revisions = "".join(f"{commit}\n" for commit, _ in heads) + "".join(f"^{commit}\n" for commit in known)
    with bundle.open("wb") as file:
        write_header(file, heads, known)
        file.flush()
        options = ("--revs", "--thin", "--stdout", "-q", "--delta-base-offset")
        outgoing.repository.git("pack-objects", *options, stdin=revisions.encode(), stdout=file, env=env)
