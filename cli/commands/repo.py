"""``ado diff``, ``apply``, ``checkout``, ``download``: the result of a task."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from app.core.git import GitError, listed, quoted
from app.rpc.client import HttpClient, Transfer
from cli.output import talk, write_bytes, write_one
from cli.parameters import ResultJob, TaskArgument
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http, task_id
from cli.render.patch import PatchView, StatView
from cli.render.terminal import colours, is_terminal
from cli.repository import results
from cli.repository.apply import Applied, shown_by
from cli.repository.apply import apply as apply_
from cli.repository.download import checked, entries, write
from cli.repository.git import Repository, check_version, failed
from cli.repository.results import JobResult
from cli.sent_repository import transfer_over

_CWD = Path()
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _StoredResult:
    """A result on the server: its description, the files of its task, and what fetches them."""

    result: JobResult
    files: list[dict[str, Any]]
    transfer: Transfer


def stored_files(client: HttpClient, task: str) -> list[dict[str, Any]]:
    """Return the files of a task that the caller may read, without their bytes."""
    return transfer_over(client).list(task)


def _stored_result(task: str, job: int | None, options: ServerOptions) -> _StoredResult:
    """Return a job's result; without a job the only one that changed something. Raises CliError."""
    check_version()
    client = http(choose(options))
    transfer = transfer_over(client)
    files = stored_files(client, task_id(task))
    if not any(file["kind"] == "result" for file in files):
        raise results.no_result(client.query("tasks.get", {"taskId": task_id(task)}))
    return _StoredResult(results.choose(task_id(task), files, job), files, transfer)


def fetched(task: str, job: int | None, options: ServerOptions) -> tuple[Repository, JobResult]:
    """Fetch a result into the repository of the working directory. Raises CliError."""
    local = Repository.of_working_directory()
    if local is None:
        raise failed("there is no git repository here", "go to the repository that the task was started in")
    stored = _stored_result(task, job, options)
    results.fetch(local, stored.result, stored.transfer)
    for extra in stored.result.extras:
        talk(f"ado: {extra.text} was returned too: {extra.command}")
    return local, stored.result


@dataclass(frozen=True, slots=True)
class ReadableResult:
    """A result that was fetched into a repository."""

    repository: Repository
    result: JobResult
    stored: _StoredResult

    def other(self, job: int) -> JobResult:
        """Fetch the result of another job of the task into the same repository. Raises CliError."""
        result = results.choose(self.result.task_id, self.stored.files, job)
        results.fetch(self.repository, result, self.stored.transfer)
        return result


@contextmanager
def readable(task: str, job: int | None, options: ServerOptions) -> Iterator[ReadableResult]:
    """Yield a result in the repository of the working directory, or in a temporary one if the task began elsewhere."""
    stored = _stored_result(task, job, options)
    result = stored.result
    local = Repository.of_working_directory()
    if local is not None and local.has(result.base):
        results.fetch(local, result, stored.transfer)
        yield ReadableResult(local, result, stored)
        return
    with results.temporary_repository(result, stored.files, stored.transfer) as repository:
        yield ReadableResult(repository, result, stored)


def diff(
    task: TaskArgument, /, *, job: ResultJob = None, stat: bool = False, options: ServerOptions = NO_OPTIONS
) -> None:
    """Show what a task changed.

    Parameters
    ----------
    stat
        Only which files, and how many lines.
    """
    with readable(task, job, options) as readable_result:
        repository, result = readable_result.repository, readable_result.result
        if not result.changed:
            talk(f"ado: {result.who} changed nothing")
        if options.as_json:
            paths = results.changed_paths(repository, result) if result.changed else []
            write_one(result.shape(paths), options.output, "commit")
        elif result.changed:
            try:
                show_difference(repository, result.base, result.commit, stat=stat)
            except GitError as error:
                raise failed(f"git cannot show it: {error}", f"try: ado diff --stat {result.name}") from error


def show_difference(repository: Repository, old: str, new: str, *, stat: bool) -> None:
    """Write the difference of two commits. Raises GitError."""
    with results.diff(repository, old, new, coloured=colours(sys.stdout), stat=stat) as shown:
        _show(shown, stat=stat)


def _show(shown: IO[bytes], *, stat: bool) -> None:
    """Write a diff piece by piece; on a terminal every character is visible."""
    if not is_terminal(sys.stdout):
        while piece := shown.read(_PIECE_BYTES):
            write_bytes(piece)
        return
    view = StatView() if stat else PatchView(coloured=colours(sys.stdout))
    while piece := shown.read(_PIECE_BYTES):
        write_bytes(view.feed(piece).encode())
    write_bytes(view.feed(b"", last=True).encode())


def apply(task: TaskArgument, /, *, job: ResultJob = None, options: ServerOptions = NO_OPTIONS) -> None:
    """Apply a task's changes to the working tree. Files that were changed here since then refuse it."""
    shape, note = apply_result(*fetched(task, job, options))
    write_one(shape, options.output, "commit", note=note)


def apply_result(local: Repository, result: JobResult, command: str = "ado apply") -> tuple[dict[str, Any], str]:
    """Apply a fetched result; return what ``-o json`` prints of it, and a sentence. Raises CliError."""
    try:
        applied = apply_(local, result, command) if result.changed else Applied()
        return result.shape(applied.paths), _summary(local, result, applied)
    except GitError as error:
        raise failed(str(error), f"look at the result: ado diff {result.name}") from error


def _summary(local: Repository, result: JobResult, applied: Applied) -> str:
    """Return the sentence that says what an apply changed."""
    if not result.changed:
        return f"{result.who} changed nothing"
    if applied.already:
        return f"nothing to change: already applied ({applied.already})"
    count = len(applied.paths)
    command = shown_by(local, applied.paths)
    seen = f"{command} {'shows it' if count == 1 else 'shows them'}" if command else listed(applied.paths)
    return f"{count} {'file' if count == 1 else 'files'} changed; {seen}"


def checkout(task: TaskArgument, /, *, job: ResultJob = None, options: ServerOptions = NO_OPTIONS) -> None:
    """Check out the branch with a task's result."""
    shape, note = check_out_result(*fetched(task, job, options))
    write_one(shape, options.output, "branch", note=note)


def check_out_result(local: Repository, result: JobResult) -> tuple[dict[str, Any], str]:
    """Check out a fetched result's branch; return what ``-o json`` prints of it, and a sentence. Raises CliError."""
    make_branch(local, result)
    try:
        with local.directory_kept():
            local.git("checkout", "--quiet", "--no-recurse-submodules", result.branch, "--")
    except GitError as error:
        step = f"correct what git says (local changes: commit them), then: git checkout {result.branch}"
        raise failed(str(error), f"{step} (the branch is made)") from error
    return result.shape(), f"on branch {result.branch}"


def make_branch(local: Repository, result: JobResult) -> None:
    """Make the branch of a result; a branch that already contains the result stays as it is. Raises CliError."""
    if not result.changed:
        raise failed(f"{result.who} changed nothing, so there is no branch", f"see its log: ado logs {result.task_id}")
    ref = f"refs/heads/{result.branch}"
    existing = local.optional("rev-parse", "--verify", "--quiet", ref)
    if existing and local.succeeds("merge-base", "--is-ancestor", result.commit, existing):
        return
    if existing:
        raise failed(
            f"a branch {result.branch} exists and does not hold the result",
            f"rename it (git branch -m {result.branch} OTHER), or merge the result: git merge {result.ref}",
        )
    try:
        local.git("update-ref", "--no-deref", "--", ref, result.commit)
    except GitError as error:
        step = f"make a branch of another name: git checkout -b NAME {result.ref}"
        raise failed(f"the branch {result.branch} cannot be made: {error}", step) from error


def download(
    task: TaskArgument, path: str, /, *, job: ResultJob = None, to: Path = _CWD, options: ServerOptions = NO_OPTIONS
) -> None:
    """Write files of a task's result into a directory.

    Parameters
    ----------
    path
        A file or directory of the result, from its top; . is all of it.
    to
        The directory to write into.
    """
    inside = checked(path)
    with readable(task, job, options) as readable_result:
        repository, result = readable_result.repository, readable_result.result
        if not result.changed and not repository.has(result.commit):
            raise failed(f"{result.who} left no files", f"see how it ended: ado tasks show {result.task_id}")
        try:
            written = write(repository, entries(repository, result.commit, inside), to)
        except GitError as error:
            raise failed(f"the files cannot be written: {error}", "download other paths one by one") from error
    write_one(
        result.shape(written), options.output, "commit", note=f"{listed(written, 5)} written to {quoted(str(to))}"
    )
