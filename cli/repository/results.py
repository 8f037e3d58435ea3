"""Results of tasks: their descriptions are checked, their commits fetched into ``refs/ado/`` and shown.

A result is one commit on top of the commit that was sent. Its description may come from anybody who holds a worker's
token, so every id and name in it is checked before git sees it.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from app.core.git import GitError, clean_name, quoted
from app.rpc.client import Transfer
from cli import exits
from cli.errors import CliError, usage
from cli.repository import size_limits
from cli.repository.git import Repository, failed, parts_of

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TASK = re.compile(r"task-[0-9]{1,19}")
_EXTRA = re.compile(r"(?:branch|tag|stash|commit|nested)/[A-Za-z0-9_./-]+")
_BRANCHES = "ado/"
_MOST_EXTRAS = 1000
_MOST_JOBS = 1_000_000
_TEXT_CHARS = 1000
_NAMES_BYTES = 64 * 1024 * 1024  # a million files with paths of 64 bytes


@dataclass(frozen=True, slots=True)
class ExtraRef:
    """A commit besides the result: another branch, a stash, or the files of a nested repository."""

    ref: str
    text: str
    commit: str
    command: str
    """The command that shows it, or writes it to the working tree."""

    @classmethod
    def of(cls, under: str, about: Any) -> ExtraRef:
        """Read a description. Raises ValueError for one that no worker writes."""
        if not isinstance(about, Mapping):
            raise ValueError("an extra commit has no description")
        kind, name, text, commit, path = (about.get(key) for key in ("kind", "ref", "text", "commit", "path"))
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise ValueError("an extra commit is no commit id")
        if not isinstance(name, str) or not _EXTRA.fullmatch(name) or clean_name(name) != name:
            raise ValueError("the name of an extra commit is unfit for a ref")
        ref = f"{under}/{name}"
        command = {"stash": f"git stash apply {ref}", "branch": f"git log {ref}"}.get(str(kind), f"git show {ref}")
        if kind == "nested":
            command = f"git restore --source={ref} --worktree -- {_word(f':(top,literal){path}')}"
        return cls(ref, str(text)[:_TEXT_CHARS], commit, command)


def _word(text: str) -> str:
    """Return a path, which git may have quoted, as a word of a shell."""
    magic, _, path = text.partition(")")
    if not path.startswith('"'):
        return shlex.quote(text)
    return f'"$(printf {shlex.quote(magic + ")" + path[1:-1].replace("%", "%%"))})"'


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of one job, as ``files.list`` describes it."""

    task_id: str
    job: int
    file: Mapping[str, Any]
    branch: str
    commit: str
    base: str
    whole: bool
    """Whether its bundle needs nothing of the base: the task began with an empty directory."""

    several: bool = False
    """Whether other jobs of the task have results too."""
    extras: tuple[ExtraRef, ...] = ()

    @classmethod
    def of(cls, task_id: str, file: Mapping[str, Any], *, several: bool = False) -> JobResult:
        """Read a file of the kind result. Raises CliError for a description that no worker writes."""
        about, job = file.get("about"), file.get("job")
        if not _TASK.fullmatch(task_id):
            raise _unreadable(task_id, file, "that is not the id of a task")
        if type(job) is not int or not 0 <= job < _MOST_JOBS:
            raise _unreadable(task_id, file, "its job is not the number of one")
        if not isinstance(about, Mapping):
            raise _unreadable(task_id, file, "it has no description")
        branch, commit, base = (about.get(name) for name in ("branch", "commit", "base"))
        for name, value in (("commit", commit), ("base", base)):
            if not isinstance(value, str) or not _COMMIT.fullmatch(value):
                raise _unreadable(task_id, file, f"its {name} is no commit id")
        if not isinstance(branch, str) or not branch.startswith(_BRANCHES) or clean_name(branch) != branch:
            raise _unreadable(task_id, file, f"its branch is not below {_BRANCHES}")
        extras = about.get("extras") or []
        if not isinstance(extras, list) or len(extras) > _MOST_EXTRAS:
            raise _unreadable(task_id, file, f"its extra commits are no list of at most {_MOST_EXTRAS}")
        try:
            under = f"refs/ado/{task_id}/extra/{job}"
            extra_commits = tuple(ExtraRef.of(under, extra) for extra in extras)
        except ValueError as error:
            raise _unreadable(task_id, file, str(error)) from error
        return cls(task_id, job, file, branch, str(commit), str(base), bool(about.get("whole")), several, extra_commits)

    @property
    def changed(self) -> bool:
        """Whether the job changed anything."""
        return self.commit != self.base

    @property
    def name(self) -> str:
        """The words of a command that name it: the task, and the job if the task has several results."""
        return f"{self.task_id} --job {self.job}" if self.several else self.task_id

    @property
    def who(self) -> str:
        """Its name in sentences."""
        return f"job {self.job} of {self.task_id}" if self.several else self.task_id

    def fetched(self) -> list[dict[str, Any]]:
        """Return each ref that a fetch makes, what it holds, and the command that shows it."""
        refs = [{"ref": extra.ref, "text": extra.text, "commit": extra.commit, "command": extra.command}
                 for extra in self.extras]  # fmt: skip
        if self.changed:
            command = f"git diff {self.ref}^ {self.ref}"
            refs.insert(0, {"ref": self.ref, "text": f"job {self.job}", "commit": self.commit, "command": command})
        return refs

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


def of_task(task_id: str, files: Sequence[Mapping[str, Any]], job: int | None = None) -> list[JobResult]:
    """Return the results of a task, or of one of its jobs. Raises CliError."""
    with_results = [file for file in files if file["kind"] == "result"]
    selected = [file for file in with_results if job is None or file["job"] == job]
    if not selected:
        raise CliError(
            f"{task_id} has no result" + (f" for job {job}" if job is not None else ""),
            f"results are there of job {', '.join(str(file['job']) for file in with_results)}"
            if with_results
            else "a result is there once a job has ended, if the task was given a repository (ado run --repo)",
            exits.FAILED,
            "no_result",
        )
    return [JobResult.of(task_id, file, several=len(with_results) > 1) for file in selected]


def no_result(task: Mapping[str, Any]) -> CliError:
    """Return the error for a task without any result."""
    name = task["taskId"]
    if any(job["status"] in ("queued", "running", "paused") for job in task["jobs"]):
        return CliError(f"{name} has no result yet", f"wait for it: ado wait {name}", exits.FAILED, "no_result")
    step = f"results come from tasks with a repository (ado run --repo) whose agent started; its log: ado logs {name}"
    return CliError(f"{name} has no result", step, exits.FAILED, "no_result")


def choose(task_id: str, files: Sequence[Mapping[str, Any]], job: int | None) -> JobResult:
    """Return a job's result; without a job the only one, or the only one that changed something. Raises CliError."""
    candidates = of_task(task_id, files, job)
    if len(candidates) > 1:
        candidates = [result for result in candidates if result.changed] or candidates[:1]
    if len(candidates) > 1:
        jobs = ", ".join(str(result.job) for result in candidates)
        step = f"choose one, for example: --job {candidates[0].job}"
        raise usage(f"several jobs of {task_id} changed something: {jobs}", step)
    return candidates[0]


def fetch(repository: Repository, result: JobResult, transfer: Transfer) -> None:
    """Fetch a result into the repository, only under ``refs/ado/``. Raises CliError, CallError, NoAnswer."""
    if not result.whole and not repository.has(result.base):
        raise failed(
            f"{result.task_id} did not start from this repository: commit {result.base[:12]} is not here",
            "go to the repository that the task was started in, or get the commit first: git fetch",
        )
    commits = {extra.commit for extra in result.extras} | ({result.commit} if result.changed else set())
    if not commits:
        return
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        bundle = Path(name) / "result.bundle"
        try:
            transfer.fetch(dict(result.file), bundle)
            imported = repository.import_bundle(bundle, size_limits.of_result())
            parents = repository.text("rev-list", "--parents", "--max-count=1", result.commit, "--").split()
        except (GitError, ValueError) as error:
            raise failed(f"the result cannot be imported: {error}", "nothing was changed here") from error
    if set(imported) != commits or (result.changed and parents != [result.commit, result.base]):
        raise failed("the result is not the commit that was announced", "nothing was changed here")
    try:
        for commit in commits:
            check_files(repository, result.base, commit)
    except GitError as error:
        raise failed(f"the result cannot be imported: {error}", "nothing was changed here") from error
    refs = {extra.ref: extra.commit for extra in result.extras}
    if result.changed:
        refs[result.ref] = result.commit
    for ref, commit in refs.items():
        repository.git("update-ref", "--no-deref", "--", ref, commit)


def check_files(repository: Repository, base: str, commit: str) -> None:
    """Raise GitError for a commit of more files than can be laid out, or whose changed files are too large together.

    A few small trees can stand for any number of files, and one blob can be named any number of times.
    """
    with repository.stream("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit) as output:
        room = _NAMES_BYTES
        for name in parts_of(output, _NAMES_BYTES):
            room -= len(name) + 1
            if room < 0:
                raise GitError("it has more files than can be laid out")
    changed = repository.names("diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", base, commit, "--")
    blobs = [entry.split(" ")[3] for entry in changed[::2] if entry.split(" ")[1].startswith(("100", "120"))]
    repository.check_sizes(blobs, size_limits.total_bytes())


@contextmanager
def temporary_repository(
    result: JobResult, files: Sequence[Mapping[str, Any]], transfer: Transfer
) -> Iterator[Repository]:
    """Yield a temporary repository with the commit that was sent and the result, where the user has none of them."""
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        repository = Repository.bare(Path(name) / "git", len(result.commit))
        base = next((file for file in files if file["kind"] == "base"), None)
        if base is not None:
            bundle = Path(name) / "base.bundle"
            try:
                transfer.fetch(dict(base), bundle)
                repository.import_bundle(bundle, size_limits.of_history())
                check_files(repository, result.base, result.base)
            except (GitError, ValueError) as error:
                message = f"the commit that was sent cannot be imported: {error}"
                raise failed(message, "go to the task's repository") from error
        fetch(repository, result, transfer)
        yield repository


def diff(
    repository: Repository, old: str, new: str, *, coloured: bool, stat: bool
) -> AbstractContextManager[IO[bytes]]:
    """Yield the difference of two commits as git shows it; the colours are those of --stat alone."""
    options = ["--color=always" if coloured and stat else "--color=never", "--stat" if stat else "--patch"]
    return repository.stream("diff", "--no-ext-diff", "--no-textconv", *options, old, new, "--")


def changed_paths(repository: Repository, result: JobResult) -> list[str]:
    """Return the paths that a result changes."""
    return differing_paths(repository, result.base, result.commit)


def differing_paths(repository: Repository, old: str, new: str) -> list[str]:
    """Return the paths that differ between two commits."""
    return repository.names("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new, "--")


def files_of(repository: Repository, result: JobResult) -> str:
    """Return the commit of a fetched result, or the empty tree if the job left nothing in an empty directory."""
    if repository.has(result.commit):
        return result.commit
    return repository.git("hash-object", "-t", "tree", "--stdin", stdin=b"").decode().strip()
