"""Apply a result to the working tree, without touching the user's index or branch.

Uncommitted changes in a file that the result changes refuse it. What was committed since the task started is merged
by ``git apply --3way`` and refuses it only where both changed the same lines. The merge runs twice: first against an
index alone, then with the files, so that a refusal changes nothing. If the second run fails half-way, for example in
a filter of the user's, the files are put back.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.git import GitError, listed
from cli.repository.git import Repository, failed
from cli.repository.results import JobResult, changed_paths

_PATCH = (
    "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--unified=3",
    "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short",
)  # fmt: skip
"""Options that override the user's configuration of patches, so that git apply can read them."""
_PATHS_AT_ONCE = 200  # arguments of one command: a path has at most 4 KiB, an argument list 2 MiB


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did: the paths it wrote, or why it wrote none."""

    paths: Sequence[str] = ()
    already: str = ""
    """Why there was nothing to write; empty when something was written."""


def apply(repository: Repository, result: JobResult, command: str = "ado apply") -> Applied:
    """Write a result's changes into the working tree. Raises CliError, changing nothing.

    ``command`` is the one to repeat after a refusal.
    """
    paths = changed_paths(repository, result)
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        top = Path(name)
        index, rehearsal, patch = top / "index", top / "rehearsal", top / "patch"
        current = _index_of_working_tree(repository, index, paths)
        sent, returned, head = (_objects(repository, commit) for commit in (result.base, result.commit, "HEAD"))
        differing = [path for path in paths if current.get(path) not in (None, sent.get(path), returned.get(path))]
        returned |= _as_stored_here(repository, differing, returned)
        _refuse_overlap(repository, result, paths, (current, sent, returned, head), command)
        pending = [path for path in paths if current.get(path) != returned.get(path)]
        if not pending:
            return Applied(already="the working tree has it")
        shutil.copyfile(index, rehearsal)
        _write_patch(repository, result, pending, patch)
        if merged := _rehearse(repository, result, patch, rehearsal):
            return Applied(already=merged)
        merged_entries = _entries(repository, rehearsal)
        written = [path for path in pending if merged_entries.get(path) != current.get(path)]
        if not written:
            return Applied(already="what was committed here contains it")
        _write(repository, result, patch, index, _Backup(repository, written, top / "backup"))
    return Applied(written)


def _write_patch(repository: Repository, result: JobResult, paths: Sequence[str], patch: Path) -> None:
    """Write the patch of some paths to a file: it may be as large as the files."""
    with patch.open("wb") as file:
        for first in range(0, len(paths), _PATHS_AT_ONCE):
            some = paths[first : first + _PATHS_AT_ONCE]
            repository.git("diff", *_PATCH, result.base, result.commit, "--", *some, stdout=file)


def _apply_patch(repository: Repository, patch: Path, index: Path, where: str) -> None:
    """Merge a patch into an index alone (``--cached``), or into the files as well (``--index``). Raises GitError."""
    with patch.open("rb") as file:
        repository.git("apply", where, "--3way", stdin=file, env={"GIT_INDEX_FILE": str(index)})


def _rehearse(repository: Repository, result: JobResult, patch: Path, rehearsal: Path) -> str:
    """Merge into an index alone; return where the result is already merged. Raises CliError on a conflict."""
    env = {"GIT_INDEX_FILE": str(rehearsal)}
    try:
        _apply_patch(repository, patch, rehearsal, "--cached")
    except GitError as error:
        if where := _merged(repository, result):
            return where
        conflicts = repository.names("diff", "--name-only", "-z", "--diff-filter=U", env=env)
        raise failed(
            f"the result conflicts with what was committed here: {listed(conflicts)}"
            if conflicts
            else f"the result does not fit what is here: {error}",
            f"look at it: ado diff {result.name}; then merge it by hand: git merge {result.ref}",
            "conflict",
        ) from error
    return ""


def _merged(repository: Repository, result: JobResult) -> str:
    """Return how HEAD contains the result: by a merge, or by a commit with the same change; empty if it does not."""
    if repository.succeeds("merge-base", "--is-ancestor", result.commit, "HEAD"):
        return f"{result.commit[:12]} is merged into HEAD"
    cherry = repository.optional("cherry", "HEAD", result.commit, result.base) or ""
    return "a commit here makes the same change" if cherry.startswith("-") else ""


def contains(repository: Repository, commit: str) -> bool:
    """Whether HEAD or the working tree has what a commit changed. Raises GitError."""
    base = repository.optional("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^1")
    if base is None:
        return False
    if (repository.optional("cherry", "HEAD", commit, base) or "").startswith("-"):
        return True
    paths = repository.names("diff-tree", "-r", "-z", "--name-only", "--no-renames", base, commit, "--")
    committed = _objects(repository, commit)
    with tempfile.TemporaryDirectory(prefix="ado-") as name:
        current = _index_of_working_tree(repository, Path(name) / "index", paths)
    return all(current.get(path) == committed.get(path) for path in paths)


def _write(repository: Repository, result: JobResult, patch: Path, index: Path, backup: _Backup) -> None:
    try:
        with repository.directory_kept():
            _apply_patch(repository, patch, index, "--index")
    except GitError as error:
        backup.restore()
        raise failed(
            f"the files could not be written, so nothing was changed: {error}",
            f"correct what git says (a filter, permissions, space), then repeat: ado apply {result.name}",
        ) from error


class _Backup:
    """Copies of the files that an apply writes."""

    def __init__(self, repository: Repository, paths: Sequence[str], to: Path) -> None:
        assert repository.work_tree is not None
        self._top = repository.work_tree
        self._paths = paths
        self._to = to
        to.mkdir()
        for number, path in enumerate(paths):
            place = self._top / path
            if place.is_symlink() or place.is_file():
                shutil.copy2(place, to / str(number), follow_symlinks=False)

    def restore(self) -> None:
        """Put every file back as it was."""
        for number, path in enumerate(self._paths):
            place, copy = self._top / path, self._to / str(number)
            if place.is_symlink() or place.is_file():
                place.unlink()
            if os.path.lexists(copy):
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(copy, place, follow_symlinks=False)
            else:
                _remove_empty(self._top, place.parent)


def _remove_empty(top: Path, directory: Path) -> None:
    while directory != top:
        try:
            directory.rmdir()
        except OSError:
            return
        directory = directory.parent


def _objects(repository: Repository, commit: str) -> dict[str, str]:
    """Return mode and object of every path of a commit; nothing where HEAD has no commit yet."""
    if commit == "HEAD" and repository.optional("rev-parse", "--verify", "--quiet", "HEAD^{commit}") is None:
        return {}
    objects = {}
    for line in repository.names("ls-tree", "-r", "-z", "--full-tree", commit):
        entry, _, path = line.partition("\t")
        mode, _, name = entry.split(" ")
        objects[path] = f"{mode} {name}"
    return objects


def _as_stored_here(repository: Repository, paths: Sequence[str], returned: Mapping[str, str]) -> dict[str, str]:
    """Return the objects of the result's files as the user's filters and line ends would store them.

    The worker has none of the user's filters, so git would store the same file here as another object.
    """
    files = [path for path in paths if returned.get(path, "").startswith("100")]
    converts = repository.optional("config", "--get", "core.autocrlf") in ("true", "input")
    stored_objects = {}
    for path in files if converts else _with_filters(repository, files):
        mode, _, name = returned[path].partition(" ")
        try:
            with tempfile.TemporaryFile() as content:
                repository.git("cat-file", "blob", name, stdout=content)
                content.seek(0)
                stored = repository.git("hash-object", "--stdin", f"--path={path}", stdin=content).decode().strip()
        except GitError:  # the filter fails: git apply reports it if the file needs it
            continue
        stored_objects[path] = f"{mode} {stored}"
    return stored_objects


def _with_filters(repository: Repository, paths: Sequence[str]) -> list[str]:
    """Return the paths whose content git changes between the working tree and its objects."""
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    attributes = repository.names("check-attr", "-z", "--stdin", "filter", "text", "eol", "ident", stdin=names)
    values = zip(attributes[::3], attributes[2::3], strict=True)
    filtered = {path for path, value in values if value not in ("unspecified", "unset")}
    return [path for path in paths if path in filtered]


def _refuse_overlap(
    repository: Repository, result: JobResult, paths: Sequence[str], states: Sequence[Mapping[str, str]], command: str
) -> None:
    """Raise CliError where the result would write over uncommitted work; ``states`` are current, sent, returned, head.

    A path is safe to write if its content is committed here, or equals what was sent or returned.
    """
    current, *safe = states
    overlapping = {path for path in paths if current.get(path) not in [state.get(path) for state in safe]}
    overlapping |= _blocking_files(repository, paths)
    if overlapping:
        raise failed(
            f"local changes overlap with the result: {listed(sorted(overlapping))}",
            f"commit or move them away, then repeat: {command} {result.name}; to look at it: ado diff {result.name}",
            "local_changes",
        )


def _blocking_files(repository: Repository, paths: Sequence[str]) -> set[str]:
    """Return uncommitted files where the result has a directory, and those in a directory where it has a file."""
    touched = {name.rstrip("/") for name in _visible(repository, "--untracked-files=all", "--ignored")}
    above = {parent: path for path in touched for parent in _parents(path)}
    files = {name for path in paths for name in touched.intersection(_parents(path))}
    return files | {above[path] for path in paths if path in above}


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _index_of_working_tree(repository: Repository, index: Path, paths: Sequence[str]) -> dict[str, str]:
    """Copy the index and update some paths from the working tree; return the entries of the copy.

    The copy keeps the times of files, so that git does not run the user's filters on unchanged files, whose result may
    differ from what is committed. A file outside of a sparse checkout keeps its entry.
    """
    repository.copy_index(index)
    env = {"GIT_INDEX_FILE": str(index)}
    flags = {line[2:]: line[0] for line in repository.names("ls-files", "-v", "-z", env=env)}
    assert repository.work_tree is not None
    hidden = [path for path in paths if flags.get(path, "H") not in "HMRCK?"]
    present = [path for path in hidden if os.path.lexists(repository.work_tree / path)]
    if present:  # git ignores these files, but they may contain work
        for flag in ("--no-skip-worktree", "--no-assume-unchanged"):  # git accepts one of them at a time
            _update_index(repository, env, present, flag)
    absent = set(hidden) - set(present)
    laid_out = [path for path in paths if path not in absent]
    directories = [path for path in laid_out if _is_directory(repository.work_tree / path)]
    _update_index(repository, env, directories, "--force-remove")
    _update_index(repository, env, [path for path in laid_out if path not in set(directories)], "--add", "--remove")
    return _entries(repository, index)


def _is_directory(place: Path) -> bool:
    """Whether a path is a directory that an index cannot contain; it can contain a nested repository."""
    return place.is_dir() and not place.is_symlink() and not (place / ".git").exists()


def _update_index(repository: Repository, env: Mapping[str, str], paths: Sequence[str], *options: str) -> None:
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    repository.git("update-index", *options, "-z", "--stdin", stdin=names, env=env)


def _entries(repository: Repository, index: Path) -> dict[str, str]:
    """Return mode and object of every path of an index."""
    entries = {}
    for line in repository.names("ls-files", "--stage", "-z", env={"GIT_INDEX_FILE": str(index)}):
        entry, _, path = line.partition("\t")
        entries[path] = entry.rpartition(" ")[0]
    return entries


def shown_by(repository: Repository, paths: Sequence[str]) -> str:
    """Return the git command that shows the written files with the user's configuration; empty if none does."""
    differing = set(repository.names("diff", "--name-only", "-z", "--no-ext-diff", "--no-textconv", "--no-renames"))
    if differing.issuperset(paths):
        return "git diff"
    listed_names = _visible(repository)
    directories = tuple(name for name in listed_names if name.endswith("/"))
    rest = set(paths) - differing - set(listed_names)
    return "git status" if all(path.startswith(directories) for path in rest) else ""


def _visible(repository: Repository, *options: str) -> list[str]:
    """Return what git status lists; a directory with only new files is its name with a slash."""
    status = ("status", "--porcelain", "-z", "--no-renames", *options)
    return [entry[3:] for entry in repository.names(*status)]
