"""What a task brought back: fetched into ``refs/ado/``, shown, and laid over the working tree.

A result is one commit on top of the commit that went out. Laying it over the working tree changes no index and no
branch: files that the user has changed meanwhile without committing refuse it; what the user has committed meanwhile
is merged, and refuses it where both changed the same lines.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.git import GitError
from app.rpc.client import Transfer
from cli import exits
from cli.errors import CliError, usage
from cli.git import Repository, failed

_TOLD_NAMES = 10


@dataclass(frozen=True, slots=True)
class Result:
    """What one job brought back, as ``files.list`` tells it."""

    task_id: str
    job: int
    file: Mapping[str, Any]
    branch: str
    commit: str
    base: str

    @classmethod
    def of(cls, task_id: str, file: Mapping[str, Any]) -> Result:
        """Read a file of the kind result."""
        about = file["about"]
        return cls(task_id, file["job"], file, about["branch"], about["commit"], about["base"])

    @property
    def changed(self) -> bool:
        """Whether the job changed anything."""
        return self.commit != self.base

    @property
    def ref(self) -> str:
        """The ref under which the user's repository keeps it."""
        return f"refs/ado/{self.task_id}/{self.job}"


def choose(task_id: str, files: Sequence[Mapping[str, Any]], job: int | None) -> Result:
    """Return a job's result; without a job the only one, or the only one that changed something. Raises CliError."""
    found = [Result.of(task_id, file) for file in files if file["kind"] == "result"]
    if job is not None:
        found = [result for result in found if result.job == job]
    elif len(found) > 1:
        found = [result for result in found if result.changed] or found[:1]
    if not found:
        raise CliError(
            f"{task_id} has brought nothing back" + (f" for job {job}" if job is not None else ""),
            "a result is there once a job has ended, if the task was given a repository (ado run --repo)",
            exits.FAILED,
            "no_result",
        )
    if len(found) > 1:
        jobs = ", ".join(str(result.job) for result in found)
        raise usage(f"several jobs of {task_id} changed something: {jobs}", "choose one with --job")
    return found[0]


def fetch(repository: Repository, result: Result, transfer: Transfer) -> None:
    """Bring a result into the repository, under ``refs/ado/`` alone. Raises CliError, CallError, Unreachable."""
    if not repository.has(result.base):
        raise failed(
            f"{result.task_id} did not start from this repository: commit {result.base[:12]} is not here",
            "go to the repository that the task was started in",
        )
    if not result.changed:
        return
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        bundle = Path(name) / "result.bundle"
        try:
            transfer.fetch(dict(result.file), bundle)
            commit = repository.take(bundle)
            parents = repository.text("rev-list", "--parents", "--max-count=1", result.commit).split()
        except (GitError, ValueError) as error:
            raise failed(f"the result cannot be taken: {error}", "nothing was changed here") from error
    if commit != result.commit or parents != [result.commit, result.base]:
        raise failed("the result is not the commit that was announced", "nothing was changed here")
    repository.git("update-ref", result.ref, result.commit)


def diff(repository: Repository, result: Result, *, coloured: bool, stat: bool) -> bytes:
    """Return the difference as git shows it."""
    options = ["--color=always" if coloured else "--color=never", "--stat" if stat else "--patch"]
    return repository.git("diff", "--no-ext-diff", "--no-textconv", *options, result.base, result.commit)


def changed_paths(repository: Repository, result: Result) -> list[str]:
    """Return the paths that a result changes."""
    return repository.names("diff-tree", "-r", "-z", "--name-only", "--no-renames", result.base, result.commit)


def apply(repository: Repository, result: Result) -> list[str]:
    """Lay a result over the working tree; return the changed paths. Raises CliError and changes nothing then."""
    paths = changed_paths(repository, result)
    if overlapping := _overlapping(repository, result, paths):
        shown = ", ".join(overlapping[:_TOLD_NAMES])
        more = f" and {len(overlapping) - _TOLD_NAMES} more" if len(overlapping) > _TOLD_NAMES else ""
        raise failed(
            f"local changes overlap with the result: {shown}{more}",
            f"commit or stash them, or look at the result apart: ado checkout {result.task_id}",
            "local_changes",
        )
    patch = repository.git("diff", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv",
                           result.base, result.commit)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        rehearsal, index = Path(name) / "rehearsal", Path(name) / "index"
        for copy in (rehearsal, index):
            _index_of_working_tree(repository, copy, paths)
        try:
            repository.git("apply", "--cached", "--3way", stdin=patch, env={"GIT_INDEX_FILE": str(rehearsal)})
        except GitError as error:
            conflicts = repository.names("diff", "--name-only", "-z", "--diff-filter=U",
                                         env={"GIT_INDEX_FILE": str(rehearsal)})  # fmt: skip
            raise failed(
                f"the result conflicts with what was committed here: {', '.join(conflicts[:_TOLD_NAMES]) or error}",
                f"merge it by hand: ado checkout {result.task_id}, or git merge {result.ref}",
                "conflict",
            ) from error
        repository.git("apply", "--index", "--3way", stdin=patch, env={"GIT_INDEX_FILE": str(index)})
    return paths


def _overlapping(repository: Repository, result: Result, paths: Sequence[str]) -> list[str]:
    """Return the paths whose content here is neither committed nor what went out."""
    assert repository.work_tree is not None
    wanted = set(paths)
    status = repository.names("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignored")
    touched = [entry[3:] for entry in status if any(_meet(entry[3:], path) for path in wanted)]
    found = []
    for path in touched:
        sent = repository.optional("rev-parse", "--verify", "--quiet", f"{result.base}:{path}")
        here = repository.work_tree / path
        now = None
        if here.is_symlink() or here.is_file():
            now = _hash(repository, path, here)
        if now != sent:
            found.append(path)
    return sorted(found)


def _meet(touched: str, path: str) -> bool:
    """Whether two paths are the same, or one lies within the other."""
    touched = touched.rstrip("/")
    return touched == path or path.startswith(f"{touched}/") or touched.startswith(f"{path}/")


def _hash(repository: Repository, path: str, here: Path) -> str:
    if here.is_symlink():
        return repository.git("hash-object", "--stdin", stdin=os.fsencode(here.readlink())).decode().strip()
    return repository.text("hash-object", "--", path)


def _index_of_working_tree(repository: Repository, index: Path, paths: Sequence[str]) -> None:
    """Make an index that agrees with the working tree on some paths."""
    env = {"GIT_INDEX_FILE": str(index)}
    if repository.optional("rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        repository.git("read-tree", "HEAD", env=env)
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    repository.git("update-index", "--add", "--remove", "-z", "--stdin", stdin=names, env=env)
