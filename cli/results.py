"""What a task brought back: checked, fetched into ``refs/ado/`` and shown.

A result is one commit on top of the commit that went out. Its description comes from whoever held the worker's token,
so every id and name in it is checked before git sees it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.git import GitError, clean_name, quoted
from app.rpc.client import Transfer
from cli import exits
from cli.errors import CliError, usage
from cli.git import Repository, failed

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BRANCHES = "ado/"


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

    several: bool = False
    """Whether other jobs of the task brought something back too."""

    @classmethod
    def of(cls, task_id: str, file: Mapping[str, Any], *, several: bool = False) -> Result:
        """Read a file of the kind result. Raises CliError when its description is not what a worker writes."""
        about = file.get("about")
        if not isinstance(about, Mapping):
            raise _unreadable(task_id, file, "it has no description")
        branch, commit, base = (about.get(name) for name in ("branch", "commit", "base"))
        for name, value in (("commit", commit), ("base", base)):
            if not isinstance(value, str) or not _COMMIT.fullmatch(value):
                raise _unreadable(task_id, file, f"its {name} is no commit id")
        if not isinstance(branch, str) or not branch.startswith(_BRANCHES) or clean_name(branch) != branch:
            raise _unreadable(task_id, file, f"its branch is not below {_BRANCHES}")
        return cls(task_id, file["job"], file, branch, str(commit), str(base), bool(about.get("whole")), several)

    @property
    def changed(self) -> bool:
        """Whether the job changed anything."""
        return self.commit != self.base

    @property
    def name(self) -> str:
        """How commands name it: the task, and the job where the task has several results."""
        return f"{self.task_id} --job {self.job}" if self.several else self.task_id

    def shape(self, paths: Sequence[str] | None = None) -> dict[str, Any]:
        """Return what ``-o json`` prints: the description, and the paths as git shows them."""
        about = dict(self.file["about"])
        return about if paths is None else {**about, "paths": [quoted(path) for path in paths]}

    @property
    def ref(self) -> str:
        """The ref under which the user's repository keeps it."""
        return f"refs/ado/{self.task_id}/{self.job}"


def _unreadable(task_id: str, file: Mapping[str, Any], why: str) -> CliError:
    return failed(
        f"the result of {task_id}, job {file.get('job')}, cannot be used: {why}",
        "nothing was changed here; run the task again on a worker of this release",
    )


def choose(task_id: str, files: Sequence[Mapping[str, Any]], job: int | None) -> Result:
    """Return a job's result; without a job the only one, or the only one that changed something. Raises CliError."""
    wanted = [file for file in files if file["kind"] == "result"]
    several = len(wanted) > 1
    if job is not None:
        wanted = [file for file in wanted if file["job"] == job]
    found = [Result.of(task_id, file, several=several) for file in wanted]
    if len(found) > 1:
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
    return repository.git("diff", "--no-ext-diff", "--no-textconv", *options, result.base, result.commit, "--")


def changed_paths(repository: Repository, result: Result) -> list[str]:
    """Return the paths that a result changes."""
    return repository.names("diff-tree", "-r", "-z", "--name-only", "--no-renames", result.base, result.commit, "--")
