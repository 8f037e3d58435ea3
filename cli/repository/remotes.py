"""The remote to which a result's branch is pushed, and where its server shows pull requests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from app.core.git import GitError, public_url
from cli.errors import usage
from cli.repository.git import Repository, failed

_PATH = re.compile(r"[\w.~-]+(?:/[\w.~-]+)+")
_LOCAL = re.compile(r"file://|[^:]*$")
_QUIET_RECEIVER = (
    "git -c core.hooksPath=/dev/null -c core.alternateRefsCommand=true -c receive.denyCurrentBranch=refuse"
    " -c receive.autogc=false receive-pack"
)
"""Takes a push on this machine, and runs nothing that the repository there names."""


@dataclass(frozen=True, slots=True)
class PushRemote:
    """A remote by its name in the repository; ``host`` and ``path`` are empty if its address names no web server."""

    name: str
    host: str = ""
    path: str = ""
    """Owner and name, without .git."""

    @classmethod
    def of(cls, name: str, url: str) -> PushRemote:
        """Read a remote's address."""
        parts = urlsplit(public_url(url) or "")
        path = parts.path.strip("/").removesuffix(".git")
        if not parts.hostname or not _PATH.fullmatch(path):
            return cls(name)
        port = f":{parts.port}" if parts.scheme == "https" and parts.port else ""  # an ssh port serves no pages
        return cls(name, parts.hostname + port, path)

    def new_request(self, branch: str) -> str:
        """Return the page on which a pull request for a branch can be opened; empty if it is not known."""
        if not self.host:
            return ""
        top = f"https://{self.host}/{self.path}"
        if "github" in self.host:
            return f"{top}/pull/new/{quote(branch)}"
        if "gitlab" in self.host:
            return f"{top}/-/merge_requests/new?merge_request%5Bsource_branch%5D={quote(branch, safe='')}"
        if "bitbucket" in self.host:
            return f"{top}/pull-requests/new?source={quote(branch, safe='')}"
        return top


def choose(repository: Repository, wanted: str | None) -> PushRemote:
    """Return the remote of a name; without one that of the current branch, else origin or the only one.

    Raises CliError.
    """
    names = repository.text("remote").split()
    if not names:
        raise failed("the repository has no remote to push to", "add one: git remote add origin URL")
    if wanted is not None and wanted not in names:
        raise usage(f"there is no remote {wanted!r}", f"the remotes are {', '.join(names)}")
    branch = repository.optional("symbolic-ref", "--quiet", "--short", "HEAD")
    upstream = repository.optional("config", "--get", f"branch.{branch}.remote") if branch else None
    name = wanted or next((name for name in (upstream, "origin") if name in names), None)
    if name is None:
        if len(names) > 1:
            raise usage(f"there are several remotes: {', '.join(names)}", f"choose one: --to {names[0]}")
        (name,) = names
    url = repository.optional("remote", "get-url", "--", name) or ""
    remote = PushRemote.of(name, url)  # with the user's own replacements of addresses, which may lead to a mirror
    return remote if remote.host else PushRemote.of(name, repository.optional("config", f"remote.{name}.url") or "")


def push(repository: Repository, remote: PushRemote, branch: str) -> None:
    """Push a branch, without hooks, tags and force. Raises CliError.

    The program of the other end is named: the repository's own configuration could name another one. If that end is a
    directory of this machine, hooks there would run as the user, and this repository chose the directory.
    """
    options = ("--quiet", "--no-verify", "--no-follow-tags", "--no-signed", "--recurse-submodules=no")
    ref = f"refs/heads/{branch}"
    is_local = _LOCAL.match(repository.optional("remote", "get-url", "--push", "--", remote.name) or ":") is not None
    receiver = _QUIET_RECEIVER if is_local and not repository.is_trusted else "git-receive-pack"
    env = {"GIT_ALLOW_PROTOCOL": "file"} if is_local else {}
    try:
        repository.git("push", *options, f"--receive-pack={receiver}", "--", remote.name, f"{ref}:{ref}", env=env)
    except GitError as error:
        step = f"correct what git says, or push it yourself (the branch is made): git push {remote.name} {branch}"
        raise failed(f"the branch cannot be pushed: {error}", step) from error
