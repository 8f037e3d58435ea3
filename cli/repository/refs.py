"""The refs under ``refs/ado/`` that keep the commits which were sent with tasks, and their results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from app.core.git import GitError
from cli.repository.apply import contains
from cli.repository.git import Repository, failed

_REF = re.compile(r"refs/ado/(task-\d+)/(.+)")


def kept(repository: Repository) -> dict[str, dict[str, str]]:
    """Return for each task its refs and their commits."""
    commits: dict[str, dict[str, str]] = {}
    for line in repository.text("for-each-ref", "--format=%(objectname) %(refname)", "refs/ado/").splitlines():
        name, _, ref = line.partition(" ")
        if match := _REF.fullmatch(ref):
            commits.setdefault(match[1], {})[ref] = name
    return commits


def is_applied(repository: Repository, refs: Mapping[str, str]) -> bool:
    """Whether a task's refs can be removed without loss: branches or the working tree contain its results."""
    return all(_is_safe(repository, commit) for ref, commit in refs.items() if not ref.endswith("/base"))


def _is_safe(repository: Repository, commit: str) -> bool:
    if repository.optional("for-each-ref", "--count=1", "--contains", commit, "refs/heads/", "refs/tags/"):
        return True
    return contains(repository, commit)


def remove(repository: Repository, refs: Mapping[str, str]) -> None:
    """Remove refs, all or none, unless one has changed meanwhile. Raises CliError."""
    commands = "".join(f"delete {ref}\0{commit}\0" for ref, commit in refs.items())
    try:
        repository.git("update-ref", "--no-deref", "--stdin", "-z", stdin=commands.encode("utf-8", "surrogateescape"))
    except GitError as error:
        raise failed(f"the refs could not be removed: {error}", "nothing was removed; try again") from error


def removed(refs: Mapping[str, str]) -> Sequence[str]:
    """Return a line for each removed ref, with which git can restore it."""
    return [f"{ref} {commit}" for ref, commit in refs.items()]
