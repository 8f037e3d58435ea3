"""Running git in the user's repository: with the user's configuration, but without hooks, fsmonitor or prompts.

The user's filters and line ends are the user's own and stay; programs that the repository itself names do not run
(``cli.repository.git_config``). Nothing is fetched but into ``refs/ado/``. What git prints
is read up to a limit, or as a stream.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from app.core.git import ENVIRONMENT, IMPORT_PACK, GitError, arguments, describe_failure, require_version
from app.core.pack_check import PackLimits, check_bundle, open_pack
from app.core.programs import search_path
from cli import exits
from cli.errors import CliError
from cli.output import talk
from cli.repository.git_config import environment, is_trusted, overrides, read_config

_OUTPUT_BYTES = 128 * 1024 * 1024  # a list of a million files with their ids
_ERROR_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024
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
        self._settings: Mapping[str, str] = {}
        """Variables that turn off the programs that the repository's own configuration names."""
        self.is_trusted = False
        """Whether the user's own configuration says that what the repository names may run here."""

    @classmethod
    def of_working_directory(cls) -> Repository | None:
        """Return the repository of the working directory; None when there is none. Raises CliError."""
        options = ("--absolute-git-dir", "--show-toplevel", "--show-prefix")
        try:
            lines = [_run(["rev-parse", option]) for option in options]  # a path may hold a line end
            git_dir, work_tree, prefix = (os.fsdecode(path.removesuffix(b"\n")) for path in lines)
            repository = cls(Path(git_dir), Path(work_tree), prefix.rstrip("/"))
            repository._mistrust()
        except GitError as error:
            if "not a git repository" in str(error):
                return None
            raise failed(str(error), "correct what git says, or use --no-repo") from error
        return repository

    def _mistrust(self) -> None:
        """Turn off what the repository's own configuration would run, and say so of filters. Raises GitError."""
        assert self.work_tree is not None
        if not self._owns_work_tree():  # core.worktree can name any directory, the root too
            raise GitError(f"the repository's core.worktree says {self.work_tree}, which is not its own directory")
        config = read_config(self.git("config", "--list", "--show-scope", "--includes", "-z"))
        self.is_trusted = is_trusted(config, str(self.work_tree))
        settings, filters = overrides(config, trusted=self.is_trusted)
        self._settings = environment(settings, os.environ)
        if filters:
            names = ", ".join(dict.fromkeys(key.rpartition(".")[0] for key in filters))
            talk(
                f"ado: not run, because this repository's own configuration names it: {names}; if you trust it: "
                f"git config --global --add ado.trustedRepository {self.work_tree}"
            )

    def _owns_work_tree(self) -> bool:
        assert self.work_tree is not None
        link = self.work_tree / ".git"
        try:
            target = link if link.is_dir() else self.work_tree / _linked(link)
            return target.samefile(self.git_dir)
        except OSError:
            return False

    @contextmanager
    def directory_kept(self) -> Iterator[None]:
        """Keep git from removing the working directory with its last file: a shell in a removed one is lost.

        git itself spares the directory that it runs in, but it runs at the top here.
        """
        with ExitStack() as stack:
            if self.work_tree is not None and self.directory:
                with suppress(OSError):  # where nothing can be written, nothing can be removed either
                    stack.enter_context(
                        tempfile.NamedTemporaryFile(prefix=".ado-", dir=self.work_tree / self.directory)
                    )
            yield

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
        return _run(list(words), self._surrounding(env), stdin, stdout, self.work_tree)

    @contextmanager
    def stream(self, *words: str, stdin: bytes = b"") -> Iterator[IO[bytes]]:
        """Run git; yield its output as it comes. Leaving early ends git. Raises GitError when it fails."""
        with tempfile.TemporaryFile() as input_file:
            input_file.write(stdin)
            input_file.seek(0)
            with _started(list(words), self._surrounding(None), input_file, subprocess.PIPE, self.work_tree) as output:
                yield output

    def _surrounding(self, env: Mapping[str, str] | None) -> dict[str, str]:
        surrounding = {**self._settings, "GIT_DIR": str(self.git_dir), **(env or {})}
        if self.work_tree is not None:
            surrounding["GIT_WORK_TREE"] = str(self.work_tree)
        return surrounding

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
        """Whether a commit is here; one that is not is not asked for elsewhere."""
        try:
            return self.git("cat-file", "-t", commit, env={"GIT_NO_LAZY_FETCH": "1"}).strip() == b"commit"
        except GitError:
            return False

    def check_sizes(self, blobs: Iterable[str], most: int) -> None:
        """Raise GitError for blobs that are larger than ``most`` bytes together, each as often as it is named."""
        names = "".join(f"{name}\n" for name in blobs).encode()
        sizes = self.git("cat-file", "--batch-check=%(objectsize)", stdin=names)
        if b"missing" in sizes:
            raise GitError("some of the files are not there")
        if sum(map(int, sizes.split())) > most:
            raise GitError(f"the files are larger than {most} bytes together (8 times ADO_FILE_BYTES)")

    def import_bundle(self, bundle: Path, limits: PackLimits) -> tuple[str, ...]:
        """Check a bundle's objects, and import them; return its commits. Raises GitError."""
        header = check_bundle(bundle, limits)
        with open_pack(bundle, header) as pack:
            self.git(*IMPORT_PACK, stdin=pack)
        return tuple(commit for commit, _ in header.heads)


def _run(
    words: list[str],
    env: Mapping[str, str] | None = None,
    stdin: bytes | IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    cwd: Path | None = None,
) -> bytes:
    with tempfile.TemporaryFile() as input_file:
        if isinstance(stdin, bytes):
            input_file.write(stdin)
            input_file.seek(0)
        source = input_file if isinstance(stdin, bytes) else stdin
        with _started(words, env or {}, source, stdout or subprocess.PIPE, cwd) as output:
            return b"" if stdout else _read(output, words)


@contextmanager
def _started(
    words: list[str], env: Mapping[str, str], stdin: IO[bytes] | None, stdout: IO[bytes] | int, cwd: Path | None
) -> Iterator[IO[bytes]]:
    """Yield the output of a git command, which is ended with the block. Raises GitError when it fails by itself."""
    surrounding = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                ["git", *arguments(), *words],
                env={**surrounding, "PATH": search_path(), **ENVIRONMENT, **env},
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout,
                stderr=errors,
                cwd=cwd,
            )
        except FileNotFoundError:
            raise failed("git is not installed", "install git, or use --no-repo") from None
        try:
            yield process.stdout  # type: ignore[misc]
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        if code:
            errors.seek(0)
            raise GitError(describe_failure(words[0], errors.read(_ERROR_BYTES)))


def parts_of(output: IO[bytes], most: int) -> Iterator[bytes]:
    """Yield what git prints with -z, part by part. Raises GitError for a part of more bytes than ``most``."""
    rest = b""
    while piece := output.read(_PIECE_BYTES):
        *parts, rest = (rest + piece).split(b"\0")
        yield from parts
        if len(rest) > most:
            raise GitError(f"git answered with a path of more than {most} bytes")
    if rest:
        yield rest


def _read(output: IO[bytes], words: list[str]) -> bytes:
    data = output.read(_OUTPUT_BYTES + 1)
    if len(data) > _OUTPUT_BYTES:
        raise GitError(f"git {words[0]} answered with more than {_OUTPUT_BYTES} bytes")
    return data


def _linked(file: Path) -> str:
    """Return the directory that a .git file names."""
    with file.open("rb") as content:
        return os.fsdecode(content.read(_ERROR_BYTES).removeprefix(b"gitdir: ").removesuffix(b"\n"))


def check_version() -> None:
    """Raise CliError unless git is new enough."""
    try:
        require_version(_run(["version"]))
    except GitError as error:
        raise failed(str(error), "install a newer git, or use --no-repo") from error
