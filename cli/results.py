"""What a task brought back: fetched into ``refs/ado/``, shown, and laid over the working tree.

A result is one commit on top of the commit that went out. Laying it over the working tree changes no index and no
branch: files that the user has changed meanwhile without committing refuse it; what the user has committed meanwhile
is merged, and refuses it where both changed the same lines.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    whole: bool
    """Whether its bundle needs nothing of the base: the task began with an empty directory."""

    @classmethod
    def of(cls, task_id: str, file: Mapping[str, Any]) -> Result:
        """Read a file of the kind result."""
        about = file["about"]
        return cls(
            task_id, file["job"], file, about["branch"], about["commit"], about["base"], bool(about.get("whole"))
        )

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
    if not result.whole and not repository.has(result.base):
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


@contextmanager
def apart(result: Result, files: Sequence[Mapping[str, Any]], transfer: Transfer) -> Iterator[Repository]:
    """Yield a repository of its own that holds what went out and the result, for where there is none of the user's."""
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        repository = Repository.bare(Path(name) / "git", len(result.commit))
        base = next((file for file in files if file["kind"] == "base"), None)
        if base is not None:
            bundle = Path(name) / "base.bundle"
            try:
                transfer.fetch(dict(base), bundle)
                repository.take(bundle)
            except (GitError, ValueError) as error:
                raise failed(f"what went out cannot be taken: {error}", "go to the task's repository") from error
        fetch(repository, result, transfer)
        yield repository


def diff(repository: Repository, result: Result, *, coloured: bool, stat: bool) -> bytes:
    """Return the difference as git shows it."""
    options = ["--color=always" if coloured else "--color=never", "--stat" if stat else "--patch"]
    return repository.git("diff", "--no-ext-diff", "--no-textconv", *options, result.base, result.commit)


def changed_paths(repository: Repository, result: Result) -> list[str]:
    """Return the paths that a result changes."""
    return repository.names("diff-tree", "-r", "-z", "--name-only", "--no-renames", result.base, result.commit)


def apply(repository: Repository, result: Result) -> list[str]:
    """Lay a result over the working tree; return the paths that this changes. Raises CliError, changing nothing."""
    paths = changed_paths(repository, result)
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        rehearsal, index = Path(name) / "rehearsal", Path(name) / "index"
        now = _index_of_working_tree(repository, index, paths)
        sent, wanted = _objects(repository, result.base), _objects(repository, result.commit)
        if overlapping := _overlapping(repository, paths, [now, sent, wanted]):
            raise failed(
                f"local changes overlap with the result: {_listed(overlapping)}",
                f"commit or stash them, or look at the result apart: ado checkout {result.task_id}",
                "local_changes",
            )
        pending = [path for path in paths if now.get(path) != wanted.get(path)]
        if not pending:
            return []
        shutil.copyfile(index, rehearsal)
        options = ("--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")
        patch = repository.git("diff", *options, result.base, result.commit, "--", *pending)
        _rehearse(repository, result, patch, {"GIT_INDEX_FILE": str(rehearsal)})
        repository.git("apply", "--index", "--3way", stdin=patch, env={"GIT_INDEX_FILE": str(index)})
    return pending


def _rehearse(repository: Repository, result: Result, patch: bytes, env: Mapping[str, str]) -> None:
    """Apply a patch to an index alone. Raises CliError when it does not fit."""
    try:
        repository.git("apply", "--cached", "--3way", stdin=patch, env=env)
    except GitError as error:
        conflicts = repository.names("diff", "--name-only", "-z", "--diff-filter=U", env=env)
        raise failed(
            f"the result conflicts with what was committed here: {_listed(conflicts) or error}",
            f"merge it by hand: ado checkout {result.task_id}, or git merge {result.ref}",
            "conflict",
        ) from error


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_TOLD_NAMES])
    return shown if len(names) <= _TOLD_NAMES else f"{shown} and {len(names) - _TOLD_NAMES} more"


def _objects(repository: Repository, commit: str) -> dict[str, str]:
    """Return mode and object of every path of a commit."""
    found = {}
    for line in repository.names("ls-tree", "-r", "-z", "--full-tree", commit):
        entry, _, path = line.partition("\t")
        mode, _, name = entry.split(" ")
        found[path] = f"{mode} {name}"
    return found


def _overlapping(repository: Repository, paths: Sequence[str], states: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what is uncommitted here where the result wants to write.

    A path whose content here is what went out, or the result's already, is none; ``states`` are now, sent, wanted.
    """
    now, sent, wanted = states
    status = repository.names("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignored")
    found = set()
    for touched in (entry[3:] for entry in status):
        for path in paths:
            if touched == path or (touched.endswith("/") and path.startswith(touched)):
                if now.get(path) not in (sent.get(path), wanted.get(path)):
                    found.add(path)
            elif path.startswith(f"{touched}/") or touched.startswith(f"{path}/"):
                found.add(touched)  # a file where the result has a directory, or the reverse
    return sorted(found)


def _index_of_working_tree(repository: Repository, index: Path, paths: Sequence[str]) -> dict[str, str]:
    """Make an index that agrees with the working tree on some paths; return their modes and objects."""
    env = {"GIT_INDEX_FILE": str(index)}
    if repository.optional("rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        repository.git("read-tree", "HEAD", env=env)
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    repository.git("update-index", "--add", "--remove", "-z", "--stdin", stdin=names, env=env)
    found = {}
    for line in repository.names("ls-files", "--stage", "-z", env=env):
        entry, _, path = line.partition("\t")
        found[path] = entry.rpartition(" ")[0]
    return found
