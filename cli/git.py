"""Running git in the user's repository: with the user's configuration, but without hooks, fsmonitor or prompts.

The user's filters and line ends are the user's own and stay. Nothing is fetched but into ``refs/ado/``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import IO

from app.git import ENVIRONMENT, OLDEST, GitError, arguments, read_header
from app.program import search_path
from cli import exits
from cli.errors import CliError

_TOLD_NAMES = 5
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES")


def failed(message: str, next_step: str, reason: str = "repository") -> CliError:
    """Make the error for what does not work with a repository."""
    return CliError(message, next_step, exits.FAILED, reason)


class Repository:
    """One repository; ``work_tree`` is its top directory, None for a bare one made by ado."""

    def __init__(self, git_dir: Path, work_tree: Path | None, directory: str = "") -> None:
        self.git_dir = git_dir
        self.work_tree = work_tree
        self.directory = directory
        """The working directory, from the top; empty at the top."""

    @classmethod
    def here(cls) -> Repository | None:
        """Return the repository of the working directory; None when there is none. Raises CliError."""
        asked = ("--absolute-git-dir", "--show-toplevel", "--show-prefix")
        try:
            found = [_run(["rev-parse", option], {}, None, None) for option in asked]  # a path may hold a line end
        except GitError as error:
            if "not a git repository" in str(error):
                return None
            raise failed(str(error), "correct what git says, or use --no-repo") from error
        git_dir, work_tree, prefix = (os.fsdecode(path.removesuffix(b"\n")) for path in found)
        return cls(Path(git_dir), Path(work_tree), prefix.rstrip("/"))

    @classmethod
    def bare(cls, git_dir: Path, length: int) -> Repository:
        """Make an empty repository for objects whose ids have so many characters."""
        repository = cls(git_dir, None)
        kind = "--object-format=sha256" if length == 64 else "--object-format=sha1"
        repository.git("init", "--quiet", "--bare", "--template=", kind)
        return repository

    def git(
        self,
        *words: str,
        stdin: bytes | IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run git; return its output. Raises GitError."""
        surrounding = {"GIT_DIR": str(self.git_dir), **(env or {})}
        if self.work_tree is not None:
            surrounding["GIT_WORK_TREE"] = str(self.work_tree)
        return _run(list(words), surrounding, stdin, stdout, self.work_tree)

    def text(self, *words: str) -> str:
        """Run git; return its output as one line of text. Raises GitError."""
        return self.git(*words).decode("utf-8", "surrogateescape").strip()

    def names(self, *words: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        """Run git with -z in its words; return the paths it names."""
        return [os.fsdecode(name) for name in self.git(*words, stdin=stdin, env=env).split(b"\0") if name]

    def optional(self, *words: str) -> str | None:
        """Run git; return its output, None when it fails."""
        try:
            return self.text(*words) or None
        except GitError:
            return None

    def succeeds(self, *words: str) -> bool:
        """Run git; return whether its exit code is 0."""
        try:
            self.git(*words)
        except GitError:
            return False
        return True

    def copy_index(self, copy: Path) -> None:
        """Copy the index, if there is one, with its time: git tells by it which files it must look into."""
        assert self.work_tree is not None
        index = self.work_tree / self.git("rev-parse", "--git-path", "index").decode("utf-8", "surrogateescape")[:-1]
        if index.exists():
            shutil.copy2(index, copy)

    def has(self, commit: str) -> bool:
        """Whether a commit is here."""
        return self.optional("cat-file", "-t", commit) == "commit"

    def take(self, bundle: Path) -> tuple[str, ...]:
        """Check a bundle's objects and take them over; return its commits. Raises GitError."""
        with bundle.open("rb") as file:
            header = read_header(file)
            os.lseek(file.fileno(), header.offset, os.SEEK_SET)  # git reads on from the file descriptor
            self.git("index-pack", "--strict", "--fix-thin", "--stdin", stdin=file)
        return tuple(commit for commit, _ in header.heads)


def _run(
    words: list[str],
    env: Mapping[str, str],
    stdin: bytes | IO[bytes] | None,
    stdout: IO[bytes] | None,
    cwd: Path | None = None,
) -> bytes:
    surrounding = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    try:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            ["git", *arguments(), *words],
            env={**surrounding, "PATH": search_path(), **ENVIRONMENT, **env},
            input=stdin if isinstance(stdin, bytes) else None,
            stdin=None if isinstance(stdin, bytes) else stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError:
        raise failed("git is not installed", "install git, or use --no-repo") from None
    if done.returncode:
        raise GitError(f"git {words[0]}: {_said(done.stderr.decode('utf-8', 'replace'))}")
    return done.stdout or b""


def _said(text: str) -> str:
    """Return git's error as one line, with the first paths that it names below."""
    lines = text.splitlines() or ["it failed"]
    first = next((number for number, line in enumerate(lines) if line.startswith(("fatal:", "error:"))), 0)
    named = [line.strip() for line in takewhile(lambda line: line.startswith("\t"), lines[first + 1 :])]
    return " ".join([lines[first], ", ".join(named[:_TOLD_NAMES])]).strip()


def check_version() -> None:
    """Raise CliError unless git is new enough."""
    found = _run(["version"], {}, None, None).decode().strip()
    match = re.search(r"(\d+)\.(\d+)", found)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise failed(f"{found} is too old", f"install git {wanted} or newer, or use --no-repo")
